//! Limits whose writer ended in the midst.

use std::os::fd::AsFd as _;

use aya::maps::MapData;
use lb_common::abi::{BucketCell, Limit, LimitFlags, PlainLimit, map};

use super::tests::{Host, SMALL};
use super::*;
use crate::dataplane::kernel::Kernel;
use crate::dataplane::kernel::mapped::Mapped;
use crate::dataplane::{DataPlane as _, Op};

#[test]
fn what_the_fast_way_asks_is_what_the_limit_says_after_a_writer_that_was_killed() {
    const ID: u32 = 3;
    let host = Host::new();
    host.start(SMALL, true);
    let limit = |cost| Limit { cost, flags: LimitFlags::PLAIN, ..Limit::default() };
    let adopted = || {
        let mut takeover = TakeOver::load(host.pins(), SMALL, 7, false).unwrap_or_else(|error| panic!("{error:#}"));
        let plane = Kernel::new(takeover.object(), SMALL).unwrap();
        (takeover, plane)
    };
    host.lab.weir.run(|| {
        let (takeover, mut plane) = adopted();
        plane.apply(&Op::PutLimit { id: ID, limit: limit(1) }).unwrap();
        // The first half of a change.
        plane.limits.set(ID, limit(2), 0).unwrap();
        drop((plane, takeover));
        let (_takeover, plane) = adopted();
        assert_eq!(plane.dump().unwrap().limits[&ID], limit(2));
        let data = MapData::from_pin(host.lab.state().join("maps").join(map::SERVICE_BUCKETS)).unwrap();
        let cells = Mapped::<BucketCell>::new(data.fd().as_fd(), SMALL.limits).unwrap();
        assert_eq!(cells.read(ID).unwrap().plain, PlainLimit::of(&limit(2)));
    });
}
