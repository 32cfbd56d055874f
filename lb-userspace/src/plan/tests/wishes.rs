//! Whatever may be wished, in whatever order, and though something fails on the way.

use super::*;

/// Services, and their backends with weights; and the mode of backends, by their last byte modulo 4.
type Wish = (Vec<(u8, Vec<(u8, u16)>)>, [Forward; 4]);

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let backends =
        proptest::collection::btree_map(1_u8..8, 0_u16..4, 0..6).prop_map(|b| b.into_iter().collect::<Vec<_>>());
    let services =
        proptest::collection::btree_map(1_u8..4, backends, 0..4).prop_map(|s| s.into_iter().collect::<Vec<_>>());
    let mode = || {
        prop_oneof![
            4 => Just(Forward::Nat),
            1 => Just(Forward::Snat),
            1 => Just(Forward::L2),
            1 => Just(Forward::Ipip),
            1 => Just(Forward::Gue),
        ]
    };
    let modes = [mode(), mode(), mode(), mode()];
    proptest::collection::vec((services, modes), 1..8)
}

fn granted(wish: &Wish) -> Desired {
    let (services, modes) = wish;
    let desired = desired(&services.iter().map(|(last, backends)| (*last, backends.as_slice())).collect::<Vec<_>>());
    let mut granted =
        forwarded(desired, &(1..8).map(|last: u8| (last, modes[usize::from(last % 4)])).collect::<Vec<_>>());
    // Backends of snat leave from here, and there are tunnels.
    granted.settings.snat_v4[0] = IpAddr::from([192, 0, 2, 99]).into();
    granted.settings.tunnel_v4 = IpAddr::from([192, 0, 2, 98]).into();
    granted.settings.stride = ROOMY.snat_stride;
    granted
}

/// Ports for whoever may want some.
const ROOMY: Capacity = Capacity { snat_flows: 4096, snat_pools: 40, snat_stride: 1, ..CAPACITY };

proptest! {
    /// Whatever is wished in whatever order, on a data plane that fails one write in ten: in the end it holds the last
    /// wish, and on the way no packet of a service that stays goes anywhere but to an old or a new backend.
    #[test]
    fn converges_though_writes_fail(wishes in wishes(), seed: u64) {
        let mut plane = Faulty::new(Fake::new(ROOMY), 10, seed);
        let mut state = State::new(ROOMY);
        let mut before = Desired::default();
        for wish in &wishes {
            let wished = granted(wish);
            let mut tries = 0;
            loop {
                let wanted = lingering(&wished, &state);
                let steps = planned(&plane, &state, &wanted);
                if steps.is_empty() {
                    break;
                }
                tries += 1;
                prop_assert!(tries < 1000, "does not converge");
                for step in &steps {
                    if plane.apply(&step.op).is_err() {
                        break;
                    }
                    state.record(step);
                    for (vip, old) in &before.services {
                        let Some(new) = wished.services.get(vip) else { continue };
                        let taking = |s: &DesiredService, to: IpAddr| s.backends.iter().any(|(k, b)| k.ip() == to && b.weight > 0);
                        let nobody = |s: &DesiredService| s.backends.values().all(|b| b.weight == 0);
                        for client in 0..8 {
                            match send(&plane.inner, vip, client) {
                                (_, Some(to)) => prop_assert!(taking(old, to) || taking(new, to), "{vip} to {to} after {}", step.op),
                                (verdict, None) => prop_assert!(nobody(old) || nobody(new), "{vip}: {verdict:?} after {}", step.op),
                            }
                        }
                    }
                    forget(&mut plane.inner);
                }
            }
            settle(&mut plane.inner, &mut state, &wished);
            check(&plane.inner, &wished);
            // Whoever begins anew finds just these books.
            let dump = plane.dump().unwrap();
            let mut adopted = adopt(ROOMY, &dump, &|table| plane.slots(table)).unwrap();
            adopted.state.rename(&wished);
            prop_assert!(adopted.repairs.is_empty(), "{:?}", adopted.repairs);
            prop_assert_eq!(&adopted.state.services, &state.services);
            prop_assert_eq!(&adopted.state.endpoints, &state.endpoints);
            prop_assert_eq!(planned(&plane, &adopted.state, &wished), []);
            before = wished;
        }
        plane.heal();
        let nothing = Desired::default();
        let wanted = lingering(&nothing, &state);
        apply(&mut plane.inner, &mut state, &wanted);
        settle(&mut plane.inner, &mut state, &nothing);
        check(&plane.inner, &nothing);
        prop_assert!(state.endpoints.is_empty() && state.services.is_empty());
    }

    /// Planned for some services at a time, the data plane ends up as if all had been planned at once; and once it is in
    /// step, what nobody touched need not be planned.
    #[test]
    fn parts_make_the_whole(wishes in wishes()) {
        let (mut plane, mut state) = (Fake::new(ROOMY), State::new(ROOMY));
        for wish in &wishes {
            let wished = granted(wish);
            let known = |mut wanted: Desired| {
                let known = wanted.services.keys().map(|vip| (vip.address.into(), AddressFlags::VIP));
                wanted.addresses = known.collect();
                wanted
            };
            let wanted = known(lingering(&wished, &state));
            let before = state.services.clone();
            let each = wanted.services.keys().map(|vip| BTreeSet::from([*vip]));
            // Also for none there is what belongs to no single one.
            for scope in std::iter::once(BTreeSet::new()).chain(each) {
                for step in plan_part(&wanted, &state, &scope, &|table| plane.slots(table)).unwrap().steps {
                    plane.apply(&step.op).unwrap();
                    state.record(&step);
                }
            }
            // Who has left is not to come back.
            let wanted = known(lingering(&wished, &state));
            prop_assert_eq!(planned(&plane, &state, &wanted), [], "from {:?}", before);
            let mut listening = State::new(ROOMY);
            listening.services.clone_from(&state.services);
            listening.index();
            prop_assert_eq!(&listening.listening, &state.listening);
            settle(&mut plane, &mut state, &wished);
            check(&plane, &wished);
        }
    }

    /// A controller that is killed between any two writes: the next one repairs what was half done, and gets on.
    #[test]
    fn is_taken_over_after_any_write(wishes in wishes(), stop in 0_usize..60) {
        let mut plane = Fake::new(ROOMY);
        let mut state = State::new(ROOMY);
        let mut left = stop;
        for wish in &wishes {
            let wished = granted(wish);
            for step in planned(&plane, &state, &lingering(&wished, &state)) {
                if left == 0 {
                    // Killed: only the data plane knows.
                    let dump = plane.dump().unwrap();
                    let Adopted { state: mut taken, repairs } = adopt(ROOMY, &dump, &|table| plane.slots(table)).unwrap();
                    for repair in &repairs {
                        plane.apply(repair).unwrap();
                    }
                    let wanted = lingering(&wished, &taken);
                    apply(&mut plane, &mut taken, &wanted);
                    taken.rename(&wished);
                    settle(&mut plane, &mut taken, &wished);
                    check(&plane, &wished);
                    return Ok(());
                }
                left -= 1;
                plane.apply(&step.op).unwrap();
                state.record(&step);
            }
            forget(&mut plane);
        }
    }
}
