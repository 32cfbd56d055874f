//! What the bench makes of figures: a bench has no tests of its own, so its modules are tested here.
#![expect(dead_code, unused_imports, reason = "what measures and prints is not tested here")]

#[path = "../../benches/speed/highlights.rs"]
mod highlights;
#[path = "../../benches/speed/machine.rs"]
mod machine;
#[path = "../../benches/speed/noise.rs"]
mod noise;
#[path = "../../benches/speed/page.rs"]
mod page;
#[path = "../../benches/speed/report/mod.rs"]
mod report;

mod curves;
mod figures;
mod pages;
mod sample;
