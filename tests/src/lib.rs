//! What Weir's tests, its demonstration and its bench share: a laboratory of network namespaces, real servers and real
//! traffic; a builder of frames, field by field; packets made up; and what the bench may be asked.
pub mod bench;
pub mod frame;
pub mod fuzz;
pub mod lab;
