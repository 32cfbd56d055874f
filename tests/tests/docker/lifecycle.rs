//! What happens to a container, and what Weir does then.

use std::time::Instant;

use crate::stage::{Host, NETWORK, OTHER, declared};

#[test]
fn every_event_does_what_a_user_expects() {
    let host = Host::new();
    let mut one = host.run_on(NETWORK, declared("web-1"));
    let weir = host.weir();
    weir.await_serving("it was there before Weir", &["web-1"]);
    let steps = |what: &str, change: &mut dyn FnMut(), expected: &[&str]| {
        change();
        let changed = Instant::now();
        weir.await_serving(what, expected);
        println!("{what}: seen and served within {:?}", changed.elapsed());
    };

    let two = host.engine.create(&declared("web-2").network(NETWORK)).unwrap();
    steps("one that was made but not started", &mut || (), &["web-1"]);
    steps("started", &mut || two.start().unwrap(), &["web-1", "web-2"]);
    steps("paused", &mut || two.pause().unwrap(), &["web-1"]);
    steps("unpaused", &mut || two.unpause().unwrap(), &["web-1", "web-2"]);
    steps("off its network", &mut || host.engine.disconnect(NETWORK, "web-2").unwrap(), &["web-1"]);
    steps("on it again", &mut || host.engine.connect(NETWORK, "web-2").unwrap(), &["web-1", "web-2"]);
    steps("on another one too", &mut || host.engine.connect(OTHER, "web-1").unwrap(), &["web-1", "web-2"]);
    steps("off that again", &mut || host.engine.disconnect(OTHER, "web-1").unwrap(), &["web-1", "web-2"]);
    steps("renamed", &mut || one.rename("web-9").unwrap(), &["web-2", "web-9"]);
    steps("killed", &mut || one.kill().unwrap(), &["web-2"]);
    steps("started again", &mut || one.start().unwrap(), &["web-2", "web-9"]);
    steps("stopped", &mut || one.stop(5).unwrap(), &["web-2"]);
    steps("removed", &mut || one.remove().unwrap(), &["web-2"]);

    let ill = host.engine.run(&declared("web-3").network(NETWORK).health_check()).unwrap();
    ill.await_health("healthy").unwrap();
    steps("healthy", &mut || (), &["web-2", "web-3"]);
    steps("ill", &mut || ill.fall_ill(true).unwrap(), &["web-2"]);
    steps("well again", &mut || ill.fall_ill(false).unwrap(), &["web-2", "web-3"]);

    // Nobody is left, and the service goes: others at the VIP's port are strangers.
    host.engine.remove_containers().unwrap();
    weir.await_serving("all removed", &[]);
    let _three = host.run_on(NETWORK, declared("web-4"));
    weir.await_serving("one anew", &["web-4"]);
}
