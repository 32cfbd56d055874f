//! What Weir's tests and its demonstration share: a laboratory of network namespaces, real servers and real traffic.
pub mod lab;
