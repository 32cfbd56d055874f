//! Bulk: a download through a VIP beside the same through a published port.

use std::process::Command;

use weir_tests::lab::{FRONT, Netns, WEIR_FRONT_V4};

use crate::stage::{Host, NETWORK, declared, web};

/// A gigabyte, as the issue has it.
const BYTES: u64 = 1_000_000_000;
/// Downloads of each kind; odd.
const ROUNDS: usize = 3;
/// What part of the published port's throughput the VIP has to have.
const PART: f64 = 0.8;

/// One download by curl: bytes a second.
fn download(from: &Netns, server: std::net::SocketAddr) -> f64 {
    let url = format!("http://{server}/bytes/{BYTES}");
    let form = "%{http_code} %{size_download} %{speed_download}";
    let arguments =
        ["--silent", "--show-error", "--max-time", "60", "--output", "/dev/null", "--write-out", form, &url];
    let output = from.output(Command::new("curl").args(arguments)).unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = said.split(' ').collect();
    assert_eq!(words[..2], ["200", &BYTES.to_string()], "{url}: {said}{}", String::from_utf8_lossy(&output.stderr));
    words[2].parse().unwrap()
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[test]
fn a_vip_has_the_throughput_of_a_published_port() {
    let host = Host::new();
    let _container = host.run_on(NETWORK, declared("web-1").publish("8081:8080"));
    let weir = host.weir();
    weir.await_serving("one container", &["web-1"]);
    let published = (WEIR_FRONT_V4, 8081).into();
    // With a NIC that segments nothing, as in all labs, and with one that does, as most real ones.
    for offload in ["off", "on"] {
        for feature in ["tx", "gso", "tso"] {
            host.lab.weir.command("ethtool", &["-K", FRONT, feature, offload]).unwrap();
        }
        let (mut through_vip, mut through_port) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            through_port.push(download(host.client(), published));
            through_vip.push(download(host.client(), web()[0]));
        }
        let (vip, port) = (median(&mut through_vip), median(&mut through_port));
        println!(
            "offloads {offload}: VIP {:.0} MB/s, published port {:.0} MB/s: {:.2}",
            vip / 1e6,
            port / 1e6,
            vip / port
        );
        assert!(vip >= PART * port, "offloads {offload}: VIP {through_vip:?}, port {through_port:?} bytes/s");
    }
}
