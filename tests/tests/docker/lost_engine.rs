//! The engine dies and comes back; who is served does not notice.

use weir_tests::lab::{SteadyLoad, wait_until};

use crate::stage::{Host, NETWORK, SOON, declared, web};

#[test]
fn backends_stay_and_serve_while_the_engine_is_gone_and_after() {
    let host = Host::new();
    let _web = ["web-1", "web-2"].map(|name| host.run_on(NETWORK, declared(name)));
    let weir = host.weir();
    weir.await_serving("two containers", &["web-1", "web-2"]);

    let steady = SteadyLoad::start(host.client(), web().to_vec(), 200);
    steady.await_more(100).unwrap();
    host.engine.kill().unwrap();
    wait_until("the engine to be missed", SOON, || {
        let row = weir.status().registries.into_iter().find(|row| row.name == "docker").unwrap();
        (row.state == "failing" && row.problem.is_some()).then_some(())
    })
    .unwrap();
    weir.await_serving("the engine is gone", &["web-1", "web-2"]);
    host.engine.restart(&host.lab).unwrap();
    wait_until("the engine to be found again", SOON, || {
        let row = weir.status().registries.into_iter().find(|row| row.name == "docker").unwrap();
        row.problem.is_none().then_some(())
    })
    .unwrap();
    weir.await_serving("the engine is back", &["web-1", "web-2"]);
    steady.await_more(100).unwrap();
    let report = steady.finish();
    assert!(report.failed.is_empty() && report.answers.len() == 2, "{report:#?}");

    // It is followed as before.
    let _three = host.run_on(NETWORK, declared("web-3"));
    weir.await_serving("one more", &["web-1", "web-2", "web-3"]);
    // An engine that stops in order keeps its containers too.
    host.engine.stop().unwrap();
    weir.await_serving("the engine was stopped", &["web-1", "web-2", "web-3"]);
    // What went while it was away is known at once when it is back.
    host.engine.restart(&host.lab).unwrap();
    host.engine.container("web-1").unwrap().remove().unwrap();
    weir.await_serving("one less", &["web-2", "web-3"]);
}
