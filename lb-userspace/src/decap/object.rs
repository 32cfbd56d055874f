//! The object file of `weir decap`: embedded, told what to do, loaded, attached.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TcAttachType, Xdp};
use aya::{Ebpf, EbpfLoader};
use lb_common::Address;
use lb_common::decap::{ClampOutcome, DecapOutcome, constant, map, program, sender_bits};

use super::{Report, Sender};
use crate::config::Mode;
use crate::dataplane::kernel::{Attached, Undisturbed, attach_in_mode};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-decap-bpf"));

/// The programs and maps, in the kernel. Gone when this is dropped, off their device too.
#[derive(Debug)]
pub struct Object {
    ebpf: Ebpf,
    ours: BTreeSet<IpAddr>,
}

impl Object {
    /// Makes the maps, and has the verifier check the programs.
    ///
    /// Packets are only taken from `senders`. `clamps` says whether SYN-ACKs are going to be looked at.
    pub fn load(senders: &[Sender], gue_port: u16, clamps: bool) -> Result<Self> {
        let (port, clamps) = (gue_port.to_be_bytes(), u8::from(clamps));
        let mut loader = EbpfLoader::new();
        loader.override_global(constant::GUE_PORT, &port, true);
        loader.override_global(constant::CLAMP, &clamps, true);
        let mut ebpf = loader.load(OBJECT).context("making the maps of `weir decap` in the kernel")?;
        let _undisturbed = Undisturbed::new()?;
        xdp(&mut ebpf)?.load().context("loading the XDP program")?;
        egress(&mut ebpf)?.load().context("loading the tc program")?;
        let mut object = Self { ebpf, ours: BTreeSet::new() };
        for sender in senders {
            let bits = sender_bits(sender.address.is_ipv4(), sender.prefix);
            object
                .senders()?
                .insert(&Key::new(bits, sender.address.into()), 0, 0)
                .with_context(|| format!("noting the sender {sender}"))?;
        }
        Ok(object)
    }

    /// The XDP program.
    pub fn xdp(&mut self) -> Result<&mut Xdp> {
        xdp(&mut self.ebpf)
    }

    /// The tc program for egress.
    pub fn egress(&mut self) -> Result<&mut SchedClassifier> {
        egress(&mut self.ebpf)
    }

    /// Has tunnels end at these addresses and at no others. Returns whether that is new.
    pub fn end_at(&mut self, ours: &BTreeSet<IpAddr>) -> Result<bool> {
        let before = std::mem::replace(&mut self.ours, ours.clone());
        let mut map: HashMap<&mut MapData, Address, u32> = self.map_mut(map::OURS)?.try_into()?;
        for address in ours.difference(&before) {
            map.insert(Address::from(*address), 0, 0).with_context(|| format!("noting our address {address}"))?;
        }
        for address in before.difference(ours) {
            map.remove(&Address::from(*address)).with_context(|| format!("forgetting our address {address}"))?;
        }
        Ok(before != *ours)
    }

    /// Says how large a packet tunnels carry, with their own headers, in bytes.
    pub fn set_mtu(&mut self, mtu: u32) -> Result<()> {
        let mut map: Array<&mut MapData, u32> = self.map_mut(map::MTU)?.try_into()?;
        map.set(0, mtu, 0).context("noting the MTU")
    }

    /// Attaches to a device of this network namespace: the XDP program, and, if it is wanted, the tc program.
    pub fn attach(&mut self, ifindex: u32, device: &str, mode: Mode, clamps: bool) -> Result<Attached> {
        if clamps {
            self.egress()?.attach(device, TcAttachType::Egress).with_context(|| {
                format!("attaching the tc program to the egress of {device}, which takes Linux 6.6 or newer")
            })?;
        }
        let (_, attached) = attach_in_mode(self.xdp()?, ifindex, device, mode)?;
        Ok(attached)
    }

    /// What was counted so far.
    pub fn report(&self, interface: &str) -> Result<Report> {
        let (outcomes, clamped) = (self.counters(map::OUTCOMES)?, self.counters(map::CLAMPED)?);
        let outcomes: Result<Vec<_>> =
            DecapOutcome::ALL.iter().map(|&outcome| Ok((outcome, sum(&outcomes, outcome as u32)?))).collect();
        let clamped: Result<Vec<_>> =
            ClampOutcome::ALL.iter().map(|&outcome| Ok((outcome, sum(&clamped, outcome as u32)?))).collect();
        Ok(Report::new(interface, outcomes?.into_iter(), clamped?.into_iter()))
    }

    fn senders(&mut self) -> Result<LpmTrie<&mut MapData, Address, u32>> {
        Ok(self.map_mut(map::SENDERS)?.try_into()?)
    }

    fn counters(&self, name: &str) -> Result<PerCpuArray<&MapData, u64>> {
        let map = self.ebpf.map(name).with_context(|| format!("the object has no map {name}"))?;
        map.try_into().with_context(|| format!("the map {name} is of another type"))
    }

    fn map_mut(&mut self, name: &str) -> Result<&mut aya::maps::Map> {
        self.ebpf.map_mut(name).with_context(|| format!("the object has no map {name}"))
    }
}

/// The sum of a counter over all CPUs.
fn sum(map: &PerCpuArray<&MapData, u64>, index: u32) -> Result<u64> {
    Ok(map.get(&index, 0).context("reading a counter")?.iter().sum())
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    let program = ebpf.program_mut(program::XDP).context("the object has no XDP program")?;
    program.try_into().context("the XDP program is of another type")
}

fn egress(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier> {
    let program = ebpf.program_mut(program::EGRESS).context("the object has no tc program")?;
    program.try_into().context("the tc program is of another type")
}
