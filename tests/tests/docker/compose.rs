//! A Compose file with networks and labels works as it is, and its networks stay apart through VIPs too.

use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::lab::docker::{Compose, Container, IMAGE};
use weir_tests::lab::{HTTP_PORT, HttpLoad};

use crate::stage::{Host, SOON, requests, vips, web};

/// `api` lives on `backend`, `web` on `frontend` alone, `both` on both.
fn file(public: &str) -> String {
    let [v4, v6] = vips().map(|vip| SocketAddr::new(vip, 80));
    format!(
        r#"version: "2.4"
services:
  api:
    image: {IMAGE}
    networks: [backend]
    labels:
      weir.service: web
      weir.port: "{HTTP_PORT}"
      weir.vip: "{v4}/tcp,{v6}/tcp"
      weir.network: backend
      weir.public: "{public}"
  web:
    image: {IMAGE}
    networks: [frontend]
  both:
    image: {IMAGE}
    networks: [frontend, backend]
networks:
  backend:
    enable_ipv6: true
    ipam: {{ config: [{{ subnet: "fd00:87::/64" }}] }}
  frontend:
    enable_ipv6: true
    ipam: {{ config: [{{ subnet: "fd00:88::/64" }}] }}
"#
    )
}

fn answered(container: &Container<'_>, vip: SocketAddr) -> bool {
    let words = ["lab-server", "get", &format!("http://{vip}/"), "--count", "5", "--timeout-ms", "700"];
    container.exec_output(&words).unwrap().status.success()
}

#[test]
fn networks_stay_apart_through_vips_unless_a_label_says_otherwise() {
    let host = Host::new();
    let weir = host.weir();
    for (public, from_outside) in [("true", true), ("false", false)] {
        let project = Compose::up(&host.engine, "shop", &file(public), &["--scale", "api=2"]).unwrap();
        let names = ["shop_api_1", "shop_api_2"].map(str::to_owned);
        weir_tests::lab::wait_until("two to serve", SOON, || {
            weir.serving("web").into_iter().eq(names.iter().cloned()).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}\n{:#?}", weir.serving("web"), weir.status()));
        for vip in web() {
            // All at once: those that nobody answers take their time.
            let load = HttpLoad { concurrency: 40, timeout: Duration::from_secs(2), ..HttpLoad::new(vip, 40) };
            let report = load.run(host.client());
            let expected = if from_outside { (0, 2) } else { (40, 0) };
            assert_eq!((report.failed(), report.answers.len()), expected, "public={public}, {vip}: {report:?}");
            assert_eq!(requests(&host.lab.weir, vip, 10).failed(), 0, "the host itself is always let in");
            for (name, allowed) in [("shop_api_1", true), ("shop_both_1", true), ("shop_web_1", false)] {
                let container = host.engine.container(name).unwrap();
                assert_eq!(answered(&container, vip), allowed, "{name} to {vip}");
            }
        }
        project.down().unwrap();
        weir.await_serving("down", &[]);
    }
}
