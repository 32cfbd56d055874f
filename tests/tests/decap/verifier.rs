//! What the programs cost the verifier.

use crate::rig::Rig;

#[test]
fn the_verifier_is_soon_done() {
    let mut rig = Rig::new();
    let object = rig.object();
    let xdp = object.xdp().unwrap().info().unwrap().verified_instruction_count().unwrap();
    let egress = object.egress().unwrap().info().unwrap().verified_instruction_count().unwrap();
    println!("verified instructions: XDP {xdp}, tc {egress}");
    assert!(xdp < 60_000 && egress < 30_000, "XDP {xdp}, tc {egress}");
}
