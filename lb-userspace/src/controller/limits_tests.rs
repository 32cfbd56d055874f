//! Limits by hand, and what becomes of buckets when limits change.

use std::sync::atomic::Ordering;

use lb_common::Address;
use lb_common::abi::{self, BucketKey};

use super::stage::{WEB, parse, registries};
use super::*;
use crate::api::types::LimitOrder;
use crate::config::{Limit, Per, Unit};
use crate::dataplane::Fake;
use crate::limiter;
use crate::source::{Report, Snapshot};

fn text() -> String {
    let limits = r#"
limit = [
    { per = "source", rate = 1000, unit = "packets/s", burst = 100 },
    { per = "service", rate = "8 Mbit/s", burst = 15000 },
]
"#;
    WEB.to_owned() + limits
}

fn controller() -> Controller<Fake> {
    let config = parse(&text());
    let plane = Fake::new(capacity(&config));
    let mut controller = Controller::new(config, plane, registries(), Instant::now());
    stage::say(&mut controller, Report::Snapshot(Snapshot::default()), Instant::now());
    controller
}

fn ids(controller: &Controller<Fake>) -> Vec<u32> {
    controller.state.services.values().flat_map(|service| service.limits.iter().map(|limit| limit.id)).collect()
}

fn order(rate: &str) -> LimitOrder {
    LimitOrder { service: "web".into(), rate: Some(rate.into()), ..LimitOrder::default() }
}

fn reload(controller: &mut Controller<Fake>, text: &str) {
    controller.reconfigure(parse(text), &BTreeMap::new(), Ground::default(), Instant::now()).unwrap();
}

#[test]
fn what_is_set_by_hand_is_in_force_at_once_and_says_so() {
    let mut controller = controller();
    let before = ids(&controller);
    let rows = controller.set_limit(&order("2000 packets/s"), Instant::now()).unwrap();
    assert_eq!(rows.iter().map(|row| (row.rate, row.by_hand)).collect::<Vec<_>>(), [(2_000, true), (8_000_000, false)]);
    assert_eq!(ids(&controller), before, "the buckets stay");
    let held = controller.plane.tables.limits[before[0] as usize];
    assert_eq!(held, limiter::compile(&Limit::strict(Per::Source, 2_000, Unit::Packets).with_burst(100)));

    // A reload that changes something else leaves it; one that changes the limits ends it.
    reload(&mut controller, &text().replace("port = 80", "port = 80\nidle = \"10s\""));
    assert_eq!(controller.limits(None).unwrap()[0].rate, 2_000);
    reload(&mut controller, &text().replace("rate = 1000", "rate = 3000"));
    let rows = controller.limits(None).unwrap();
    assert_eq!((rows[0].rate, rows[0].by_hand), (3_000, false));
    assert_eq!(ids(&controller), before);

    controller.set_limit(&order("16 Mbit/s"), Instant::now()).unwrap();
    let rows = controller.unset_limits("web", Instant::now()).unwrap();
    assert_eq!(
        rows.iter().map(|row| (row.rate, row.by_hand)).collect::<Vec<_>>(),
        [(3_000, false), (8_000_000, false)]
    );
    let nobody = controller.unset_limits("web", Instant::now()).unwrap_err().to_string();
    assert!(nobody.contains("as they are configured, expected some that were set by hand"), "{nobody}");
}

#[test]
fn a_bucket_holds_as_many_units_at_another_rate() {
    let mut controller = controller();
    let id = ids(&controller)[0];
    let key = BucketKey { who: Address::from_v4([198, 51, 100, 7]), limit: id };
    let now = lb_common::gcra::ticks(lb_common::Tables::now_ns(&controller.plane.tables));
    let packets = |limit: &abi::Limit, count: u64| count * lb_common::gcra::cost(limit, 1);
    let limit = controller.plane.tables.limits[id as usize];
    let level = |controller: &Controller<Fake>| {
        let bucket = controller.plane.tables.buckets.shared().known(&key).unwrap();
        lb_common::gcra::level(bucket.load(Ordering::Relaxed), now)
    };
    let shared = controller.plane.tables.buckets.shared();
    let (index, _) = shared.find(&key, now, limit.depth_ticks).unwrap();
    shared.bucket(index).unwrap().store(now + packets(&limit, 60), Ordering::Relaxed);
    controller.set_limit(&order("10 packets/s"), Instant::now()).unwrap();
    let slow = controller.plane.tables.limits[id as usize];
    assert_eq!(level(&controller), packets(&slow, 60));
    // Half as large a burst is full.
    let burst = LimitOrder { burst: Some(50), per: Some("source".into()), ..order("10") };
    controller.set_limit(&burst, Instant::now()).unwrap();
    assert_eq!(level(&controller), packets(&slow, 50));
    // What limits something else begins anew.
    reload(&mut controller, &text().replace("per = \"source\"", "per = \"source-prefix\", prefix_v4 = 24"));
    assert_ne!(ids(&controller)[0], id);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut controller = controller();
    let set = |order: LimitOrder| {
        let mut asked = self::controller();
        asked.set_limit(&order, Instant::now()).unwrap_err().to_string()
    };
    let nothing = order("1");
    for (order, expected) in [
        (LimitOrder { service: "wbe".into(), ..nothing.clone() }, "there is no service \"wbe\"; there are web"),
        (nothing.clone(), "found 2 limits of service \"web\" that are meant, expected one: 1000 packets/s per source"),
        (
            order("5 connections"),
            "found no limit of service \"web\" that is in connections: 5 connections fits none; it has: 1000 packets/s",
        ),
        (
            LimitOrder { unit: Some("connections".into()), ..order("5") },
            "found no limit of service \"web\" that is in connections; it has: 1000 packets/s per source",
        ),
        (
            LimitOrder { per: Some("backend".into()), ..order("5 packets/s") },
            "found no limit of service \"web\" that is per backend, in packets/s; it has: 1000 packets/s",
        ),
        (LimitOrder { rate: None, per: Some("source".into()), ..nothing.clone() }, "found nothing to change"),
        (order("0 packets/s"), "rate: found \"0 packets/s\", expected 1 packets/s to 100000000 packets/s"),
        (order("8 mbit/s"), "(did you mean Mbit/s?)"),
        (
            LimitOrder { per: Some("source".into()), ..order("0") },
            "rate: found \"0\", expected 1 packets/s to 100000000 packets/s",
        ),
        (
            LimitOrder { per: Some("service".into()), ..order("70") },
            "rate: found 70 without a unit, expected one, such as 70 Mbit/s",
        ),
        (LimitOrder { burst: Some(100), ..order("8 Mbit/s") }, "burst: found 100, expected an integer from 1500"),
        (LimitOrder { over: Some("delay".into()), ..order("8 Mbit/s") }, "over: found delay with direction in"),
        (LimitOrder { over: Some("shape".into()), ..order("8 Mbit/s") }, "over: found \"shape\", expected drop, mark"),
        (LimitOrder { unit: Some("pps".into()), ..order("8") }, "unit: found \"pps\""),
        (
            LimitOrder { strict: true, over: Some("mark".into()), ..order("8 Mbit/s") },
            "over: found mark without a burst",
        ),
    ] {
        let told = set(order);
        assert!(told.contains(expected), "{told}\ninstead of\n{expected}");
    }
    let missing = controller.pressure("wbe", Instant::now()).unwrap_err().to_string();
    assert!(missing.contains("there is no service"), "{missing}");
    reload(&mut controller, &text().replace("per = \"source\"", "per = \"backend\""));
    let told = controller.pressure("web", Instant::now()).unwrap_err().to_string();
    assert!(told.contains("found no limit per source of service \"web\", expected one"), "{told}");
}

#[test]
fn what_waited_becomes_strict_only_when_that_is_said() {
    let limit = "{ per = \"service\", rate = \"50 Mbit/s\", direction = \"out\", over = \"delay\" },";
    let text = text().replace("{ per = \"service\", rate = \"8 Mbit/s\", burst = 15000 },", limit);
    let set = |over: &str, burst: Option<u64>, strict: bool| {
        let mut asked = controller();
        reload(&mut asked, &text);
        let over = Some(over.into());
        let order =
            LimitOrder { direction: Some("out".into()), rate: None, over, burst, strict, ..order("of no matter") };
        asked.set_limit(&order, Instant::now()).map(|rows| rows.into_iter().find(|row| row.direction == "out").unwrap())
    };
    for over in ["drop", "count", "mark"] {
        let told = set(over, None, false).unwrap_err().to_string();
        assert!(told.starts_with(&format!("burst: found none with {over}, expected one, or --strict: ")), "{told}");
        let row = set(over, Some(100_000), false).unwrap();
        assert_eq!((row.action.as_str(), row.burst), (over, Some(100_000)));
    }
    let row = set("drop", None, true).unwrap();
    assert_eq!((row.action.as_str(), row.burst), ("drop", None));
    assert_eq!(set("delay", None, false).unwrap().action, "delay");
}

#[test]
fn a_service_without_limits_says_where_they_are_written() {
    let mut controller = controller();
    reload(&mut controller, WEB);
    let told = controller.set_limit(&order("1 packets/s"), Instant::now()).unwrap_err().to_string();
    let expected = "found no limit of service \"web\", expected one to change: those that it is to have are written in";
    assert!(told.starts_with(expected), "{told}");
}

#[test]
fn only_limits_that_may_be_meant_are_told() {
    let mut controller = controller();
    let other = "limit = [\n{ per = \"backend\", rate = 5, unit = \"packets/s\" },";
    reload(&mut controller, &text().replace("limit = [", other));
    let told = controller.set_limit(&order("1 packets/s"), Instant::now()).unwrap_err().to_string();
    assert!(told.starts_with("found 2 limits of service \"web\" that are meant, expected one: "), "{told}");
    assert!(told.contains("5 packets/s per backend") && !told.contains("Mbit/s"), "{told}");
}

#[test]
fn prefixes_tell_limits_apart() {
    let mut controller = controller();
    let prefix =
        |bits: u8| format!("{{ per = \"source-prefix\", prefix_v4 = {bits}, rate = 5, unit = \"packets/s\" }},\n");
    reload(&mut controller, &format!("{WEB}\nlimit = [\n{}{}{}]\n", prefix(16), prefix(24), prefix(24)));
    let set = |controller: &mut Controller<Fake>, bits| {
        controller.set_limit(&LimitOrder { prefix_v4: bits, ..order("7") }, Instant::now())
    };
    let told = set(&mut controller, None).unwrap_err().to_string();
    assert!(told.ends_with("Say which by --per, --prefix-v4, --prefix-v6, --unit and --direction"), "{told}");
    let told = set(&mut controller, Some(24)).unwrap_err().to_string();
    assert!(told.contains("found 2 limits") && told.contains("Nothing tells them apart here"), "{told}");
    let told = set(&mut controller, Some(8)).unwrap_err().to_string();
    assert!(told.contains("that is of prefix_v4 = 8; it has: 5 packets/s per source-prefix /16"), "{told}");
    let rows = set(&mut controller, Some(16)).unwrap();
    let rates: Vec<_> = rows.iter().map(|row| (row.prefix_v4, row.rate)).collect();
    assert!(rates.contains(&(Some(16), 7)) && rates.contains(&(Some(24), 5)), "{rates:?}");
}

#[test]
fn a_reload_says_what_becomes_of_limits() {
    let mut controller = controller();
    let notes = |controller: &Controller<Fake>, text: &str| {
        let notes = controller.preview(&parse(text), &BTreeMap::new(), &[]).unwrap().notes;
        notes.into_iter().filter(|note| note.starts_with("limits: ")).collect::<Vec<_>>().join("; ")
    };
    let (slow, fast) = ("8 Mbit/s", "16 Mbit/s");
    let other = "limit = [\n{ per = \"backend\", rate = 5, unit = \"packets/s\" },";
    assert_eq!(notes(&controller, &text()), "");
    assert_eq!(notes(&controller, &text().replace(slow, fast)), "limits: 1 changed");
    assert_eq!(notes(&controller, &text().replace("limit = [", other)), "limits: 1 added");
    let source = text().replace("per = \"source\"", "per = \"source-prefix\", prefix_v4 = 24");
    assert_eq!(notes(&controller, &source.replace(slow, fast)), "limits: 1 added, 1 changed, 1 removed");
    assert_eq!(notes(&controller, WEB), "limits: 2 removed");
    // What was set by hand stays as long as the configuration does.
    controller.set_limit(&order("9 Mbit/s"), Instant::now()).unwrap();
    assert_eq!(notes(&controller, &text()), "");
}

#[test]
fn the_head_says_which_limits_are_to_be_asked() {
    use lb_common::abi::ServiceFlags;
    let flags = |limit: &str| {
        let mut controller = controller();
        reload(&mut controller, &text().replace("{ per = \"service\", rate = \"8 Mbit/s\", burst = 15000 },", limit));
        controller.state.services.values().next().unwrap().head.flags
    };
    assert_eq!(flags(""), 0);
    let close = ServiceFlags::CLOSE_LIMITS;
    assert_eq!(flags("{ per = \"backend\", rate = \"8 Mbit/s\" }"), ServiceFlags::BACKEND_LIMITS | close);
    assert_eq!(
        flags("{ per = \"service\", rate = \"8 Mbit/s\", direction = \"out\" }"),
        ServiceFlags::OUT_LIMITS | close
    );
    assert_eq!(flags("{ per = \"service\", rate = \"8 connections\" }"), ServiceFlags::COUNTED | close);
    let mut controller = controller();
    reload(&mut controller, &text().replace("per = \"service\"", "per = \"backend\""));
    reload(&mut controller, &text());
    assert_eq!(controller.state.services.values().next().unwrap().head.flags, 0, "nobody is asked in vain");
}
