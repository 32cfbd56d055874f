//! What every part of the bench is told.

/// How much is measured, and what this process may do here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    /// How often each cell is measured; a round measures every cell once.
    pub rounds: usize,
    /// Fewer and smaller cells: a look, not a result.
    pub quick: bool,
    /// Whether tables are wanted. A part may leave them out when not; what it adds is then not shown.
    pub tables: bool,
    /// Whether curves (figures against a size) are wanted. A part may leave them out when not.
    pub growth: bool,
    /// Whether programs can be loaded and network namespaces made.
    pub privileged: bool,
}

impl Context {
    /// `full`, or `quick` in a quick run.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}
