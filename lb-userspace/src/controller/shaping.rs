//! What limits want of devices' queues.

use super::Controller;
use crate::dataplane::DataPlane;
use crate::shaping::Wanted;

impl<P: DataPlane> Controller<P> {
    /// What is to wait where replies leave, as the data plane has it.
    pub fn shaping(&self) -> Wanted {
        let devices = &self.ground.hops.devices;
        let is_local =
            |ifindex: u32| devices.get(&ifindex).is_some_and(|device| device.is_bridge() || device.bridge.is_some());
        Wanted::of(&self.state, is_local)
    }

    /// Another number whenever something was written.
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}
