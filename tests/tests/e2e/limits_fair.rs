//! A limit that sources share: with `share = "fair"` one that sends too much loses, and not the others.

use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::lab::traffic::{ANSWER_PORT, Answerer, Crowd, Member, udp_buffer_errors};
use weir_tests::lab::{Backend, vip_v4, vip_v6};

use crate::stand::{Service, Stand};

const OTHERS: usize = 99;
const MODEST_PER_S: u32 = 40;
/// A hundred times the rate of each of the others.
const ABUSER_PER_S: u32 = 4_000;
/// Half of what all send together.
const LIMIT_PER_S: u32 = 3_980;
const PRESSING: Duration = Duration::from_secs(12);

/// What the abuser got, and what the others got together.
struct Outcome {
    abuser: Member,
    others: Member,
}

impl Outcome {
    /// How many of a hundred a member lost.
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn loss(member: Member) -> f64 {
        100.0 * (1.0 - member.answered as f64 / member.sent as f64)
    }
}

fn press(name: &'static str, vip: SocketAddr, more: &str) -> Outcome {
    let limit =
        format!("limit = {{ per = \"service\", rate = {LIMIT_PER_S}, unit = \"packets/s\", burst = 1000{more} }}");
    let stand = Stand::new(1, 2, &[Service::udp(name, vip).at(ANSWER_PORT).with(&limit)]);
    let start = |backend: &Backend| Answerer::start(&backend.netns, &backend.name).unwrap();
    let _servers: Vec<Answerer> = stand.lab.backends.iter().map(start).collect();
    let mut rates = vec![MODEST_PER_S; OTHERS];
    rates.push(ABUSER_PER_S);
    let client = &stand.lab.clients[0].netns;
    let members = Crowd::gather(client, vip, &rates).unwrap().press(PRESSING).unwrap();
    let abuser = members[OTHERS];
    let others = members[..OTHERS].iter().fold(Member::default(), |sum, member| Member {
        sent: sum.sent + member.sent,
        answered: sum.answered + member.answered,
    });
    let row = stand.limits().into_iter().find(|row| row.service == name).unwrap();
    let outcome = Outcome { abuser, others };
    println!(
        "{name}: the abuser sent {} and lost {:.1} %, the others sent {} and lost {:.2} %; {row:?}",
        abuser.sent,
        Outcome::loss(abuser),
        others.sent,
        Outcome::loss(others),
    );
    // Nothing was lost but by the limit, and all that was to be sent was.
    let sent = abuser.sent + others.sent;
    let most = u64::from(2 * LIMIT_PER_S) * PRESSING.as_secs();
    assert!(sent <= most && sent >= most - most / 5, "sent {sent} of {most}");
    assert_eq!((row.admitted + row.over, row.admitted), (sent, abuser.answered + others.answered), "{row:?}");
    assert_eq!(udp_buffer_errors(client).unwrap(), 0);
    let allowed = u64::from(LIMIT_PER_S) * PRESSING.as_secs() + 1_000;
    assert!(row.admitted <= allowed + allowed / 200, "admitted {} of {allowed}", row.admitted);
    outcome
}

fn fair(name: &'static str, vip: SocketAddr) {
    let outcome = press(name, vip, ", share = \"fair\"");
    assert!(Outcome::loss(outcome.others) < 1.0, "the others lost {:.2} %", Outcome::loss(outcome.others));
    // What they leave of the limit is the abuser's: it is no smaller for being shared.
    let admitted = outcome.abuser.answered + outcome.others.answered;
    let rate = u64::from(LIMIT_PER_S) * PRESSING.as_secs();
    assert!(admitted >= rate - rate / 10, "{admitted} of {rate} were admitted");
}

#[test]
fn with_a_fair_share_an_abuser_takes_nothing_from_the_others() {
    fair("fair4", (vip_v4(62), 7).into());
}

#[test]
fn the_same_for_ipv6() {
    fair("fair6", (vip_v6(62), 7).into());
}

/// So it is without: the test above can fail.
#[test]
fn without_one_everybody_loses_as_much_as_the_abuser() {
    for (name, vip) in [("first4", vip_v4(62)), ("first6", vip_v6(62))] {
        let outcome = press(name, (vip, 7).into(), "");
        assert!(Outcome::loss(outcome.others) > 25.0, "the others lost {:.2} %", Outcome::loss(outcome.others));
    }
}
