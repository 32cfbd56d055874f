//! Weir from end to end: the real `weir`, a real kernel, real connections between network namespaces.

mod bulk;
mod stand;

mod connections;
mod direct;
mod shared;
