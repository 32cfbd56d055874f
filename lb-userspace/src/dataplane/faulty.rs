//! A data plane that fails now and then, to see that the controller gets over it.

use anyhow::{Result, bail};
use lb_common::Refusal;
use lb_common::abi::{
    Connection, Flow, FlowKey, LimitCount, Slot, Snat, SnatReply, SnatReplyKey, Table, Tally, Traffic,
};
use lb_common::host::Owned;

use super::{DataPlane, Dump, Gauge, Left, Op, Release};

/// Fails one operation in `one_in`, by a sequence that its seed decides.
#[derive(Debug)]
pub struct Faulty<P> {
    /// What does the work.
    pub inner: P,
    one_in: u64,
    state: u64,
}

impl<P> Faulty<P> {
    /// A data plane whose operations fail once in `one_in` on average. 0 never fails.
    pub const fn new(inner: P, one_in: u64, seed: u64) -> Self {
        Self { inner, one_in, state: seed }
    }

    /// From now on one in `one_in` fails; none with 0.
    pub const fn fail(&mut self, one_in: u64) {
        self.one_in = one_in;
    }

    /// From now on nothing fails.
    pub const fn heal(&mut self) {
        self.one_in = 0;
    }

    fn fails(&mut self) -> bool {
        self.state = lb_common::hash::mix(self.state.wrapping_add(0x9e37_79b9_7f4a_7c15));
        self.one_in != 0 && self.state.is_multiple_of(self.one_in)
    }
}

impl<P: DataPlane> DataPlane for Faulty<P> {
    fn apply(&mut self, op: &Op) -> Result<()> {
        if self.fails() {
            bail!("injected fault: {op}");
        }
        self.inner.apply(op)
    }

    fn dump(&self) -> Result<Dump> {
        self.inner.dump()
    }

    fn slots(&self, table: Table) -> Result<Vec<Slot>> {
        self.inner.slots(table)
    }

    fn stamps(&self, service: u32, len: u32) -> Result<Vec<u32>> {
        self.inner.stamps(service, len)
    }

    fn flows(&self) -> Result<Vec<(FlowKey, Flow)>> {
        self.inner.flows()
    }

    fn forget_flows(&mut self, flows: &[(FlowKey, Flow)]) -> Result<u64> {
        if self.fails() {
            bail!("injected fault: forget {} flows", flows.len());
        }
        self.inner.forget_flows(flows)
    }

    fn connections(&self) -> Result<Vec<(FlowKey, Connection)>> {
        self.inner.connections()
    }

    fn forget_connections(&mut self, left: &[Left]) -> Result<()> {
        if self.fails() {
            // Half of them.
            self.inner.forget_connections(&left[..left.len() / 2])?;
            bail!("injected fault: forget {} connections", left.len());
        }
        self.inner.forget_connections(left)
    }

    fn gauges(&self, limits: &[u32]) -> Result<Vec<(Gauge, u64)>> {
        self.inner.gauges(limits)
    }

    fn correct_gauge(&mut self, gauge: &Gauge, from: u64, to: u64) -> Result<()> {
        if self.fails() {
            bail!("injected fault: correct {gauge:?}");
        }
        self.inner.correct_gauge(gauge, from, to)
    }

    fn snats(&self) -> Result<Vec<(FlowKey, Snat)>> {
        self.inner.snats()
    }

    fn snat_replies(&self) -> Result<Vec<(SnatReplyKey, SnatReply)>> {
        self.inner.snat_replies()
    }

    fn ports(&self) -> Result<Vec<u64>> {
        self.inner.ports()
    }

    fn release(&mut self, releases: &[Release]) -> Result<u64> {
        if self.fails() {
            // Half of them, and of the one after them one half.
            let (done, rest) = releases.split_at(releases.len() / 2);
            self.inner.release(done)?;
            if let Some(half) = rest.first() {
                self.inner.release(&[Release { flow: half.flow, ..Release::default() }])?;
            }
            bail!("injected fault: release {} flows", releases.len());
        }
        self.inner.release(releases)
    }

    fn tally(&self) -> Result<Tally> {
        self.inner.tally()
    }

    fn take_census(&mut self) -> Result<Vec<FlowKey>> {
        self.inner.take_census()
    }

    fn now_s(&self) -> u32 {
        self.inner.now_s()
    }

    fn service_traffic(&self, id: u32) -> Result<Traffic> {
        self.inner.service_traffic(id)
    }

    fn gone_traffic(&self) -> Result<Traffic> {
        self.inner.gone_traffic()
    }

    fn backend_traffic(&self, id: u32) -> Result<Traffic> {
        self.inner.backend_traffic(id)
    }

    fn limit_count(&self, id: u32) -> Result<LimitCount> {
        self.inner.limit_count(id)
    }

    fn buckets(&self, limits: &[u32]) -> Result<Vec<Owned>> {
        self.inner.buckets(limits)
    }

    fn refusals(&self) -> Result<Vec<(Refusal, u64)>> {
        self.inner.refusals()
    }
}
