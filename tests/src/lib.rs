//! What Weir's tests and its demonstration share: a laboratory of network namespaces, real servers and real traffic; and
//! a builder of frames, field by field; and packets made up.
pub mod frame;
pub mod fuzz;
pub mod lab;
