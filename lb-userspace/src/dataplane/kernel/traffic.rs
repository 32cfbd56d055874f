//! What was carried: counters of every CPU, and the rows in which is what those carried that are gone.

use std::borrow::BorrowMut;
use std::ops::AddAssign;

use anyhow::{Context as _, Result};
use aya::Pod;
use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use lb_common::abi::Traffic;

use super::{Kernel, shape};

impl Kernel {
    pub(super) const fn gone_row(&self) -> u32 {
        shape::gone_row(self.services.len())
    }

    pub(super) const fn left_row(&self, service: u32) -> u32 {
        shape::left_row(self.services.len(), service)
    }

    /// Adds what a service carried to what those carried that are gone.
    pub(super) fn bury_service(&mut self, id: u32) -> Result<()> {
        for row in [id, self.left_row(id)] {
            let carried = sum(&self.service_traffic, row)?;
            if carried != Traffic::default() {
                // First to zero: of a write that fails half-way less is told than was carried, and not more.
                zero(&mut self.service_traffic, row, self.cpus)?;
                self.add_up(self.gone_row(), carried)?;
            }
        }
        Ok(())
    }

    /// Adds what a backend carried to a row that no program writes.
    pub(super) fn bury_backend(&mut self, id: u32, row: u32) -> Result<()> {
        let carried = sum(&self.backend_traffic, id)?;
        if carried == Traffic::default() {
            return Ok(());
        }
        zero(&mut self.backend_traffic, id, self.cpus)?;
        self.add_up(row, carried)
    }

    /// Adds to a row that no program writes.
    pub(super) fn add_up(&mut self, row: u32, carried: Traffic) -> Result<()> {
        let mut total = sum(&self.service_traffic, row)?;
        total += carried;
        let mut values = vec![Traffic::default(); self.cpus];
        if let Some(first) = values.first_mut() {
            *first = total;
        }
        let values = PerCpuValues::try_from(values).context("one value for each CPU")?;
        self.service_traffic.set(row, values, 0).context("adding up what was carried")
    }
}

/// Sets a per-CPU element to zero on every CPU.
pub(super) fn zero<T: Pod + Default>(
    map: &mut PerCpuArray<impl BorrowMut<MapData>, T>,
    id: u32,
    cpus: usize,
) -> Result<()> {
    let zeroes = PerCpuValues::try_from(vec![T::default(); cpus]).context("one value for each CPU")?;
    map.set(id, zeroes, 0).context("setting a counter to zero")
}

/// The sum of a per-CPU element.
pub(super) fn sum<T: Pod + Default + AddAssign>(map: &PerCpuArray<MapData, T>, id: u32) -> Result<T> {
    let mut total = T::default();
    for value in map.get(&id, 0).context("reading a counter")?.iter() {
        total += *value;
    }
    Ok(total)
}
