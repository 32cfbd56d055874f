//! A loaded program, run once on a frame.

use aya::TestRunResult;
use aya::programs::{TestRun, TestRunOptions};

/// By how much a program may lengthen a frame.
const ROOM: usize = 512;

/// Runs it by `BPF_PROG_TEST_RUN`: what it returned, and the frame as it left it.
#[track_caller]
pub(crate) fn test_run<P>(program: &P, frame: &[u8]) -> (u32, Vec<u8>)
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = TestRunResult>,
{
    let mut out = vec![0; frame.len() + ROOM];
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(&mut out);
    let result = program.test_run(options).expect("BPF_PROG_TEST_RUN");
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}
