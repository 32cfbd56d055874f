//! The way back to clients.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir_tests::lab::{FRONT, HOST_DEVICE, HttpLoad, WEIR_FRONT_V4, WEIR_FRONT_V6, vip_v4, vip_v6, wait_until};

use crate::stand::{SOON, Service, Stand};

/// The VIPs are addresses of Weir's host, so that its stack drops replies it is to route as martians; the kernel has
/// forgotten the client; and the client, which knows its gateway for ever, gives it no occasion to remember.
#[test]
fn a_client_whose_neighbour_entry_is_gone_is_found_again() {
    let vips: [SocketAddr; 2] = [(vip_v4(10), 80).into(), (vip_v6(10), 80).into()];
    let stand = Stand::new(1, 2, &[Service::tcp("web", vips[0]), Service::tcp("web6", vips[1])]);
    let (weir, client) = (&stand.lab.weir, &stand.lab.clients[0]);
    weir.ip_batch(&format!("addr add {}/32 dev {FRONT}\naddr add {}/128 dev {FRONT} nodad\n", vip_v4(10), vip_v6(10)))
        .unwrap();
    let gateway = weir.mac(FRONT).unwrap().map(|byte| format!("{byte:02x}")).join(":");
    for address in [IpAddr::from(WEIR_FRONT_V4), WEIR_FRONT_V6.into()] {
        let entry = format!("neigh replace {address} lladdr {gateway} dev {HOST_DEVICE} nud permanent");
        client.netns.ip(&entry).unwrap();
    }
    for (vip, address) in vips.into_iter().zip([IpAddr::from(client.v4), client.v6.into()]) {
        weir.ip(&format!("neigh flush to {address} dev {FRONT}")).unwrap();
        assert_eq!(weir.ip(&format!("neigh show to {address} dev {FRONT}")).unwrap().trim(), "");
        wait_until("the client to be found", 2 * SOON, || {
            let load = HttpLoad { timeout: Duration::from_millis(1_500), ..HttpLoad::new(vip, 4) };
            (load.run(&client.netns).failed() == 0).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", weir.ip("neigh show").unwrap(), stand.weir.log()));
        assert_eq!(HttpLoad::new(vip, 500).run(&client.netns).failed(), 0);
    }
}
