//! Everything that operations have written, read back.

use anyhow::Result;
use lb_common::abi::{Backend, Limit, Service};

use super::Kernel;
use crate::dataplane::{Dump, is_there, present};

impl Kernel {
    pub(super) fn read_all(&self) -> Result<Dump> {
        let services: Result<Vec<Service>> = (0..self.services.len()).map(|id| self.services.read(id)).collect();
        let backends: Result<Vec<Backend>> = (0..self.backends.len()).map(|id| self.backends.read(id)).collect();
        let limits: Result<Vec<Limit>, _> = self.limits.iter().collect();
        Ok(Dump {
            vips: self.vips.iter().collect::<Result<_, _>>()?,
            services: present(services?.into_iter()),
            // A row that was taken back keeps its version.
            backends: present(
                backends?
                    .into_iter()
                    .map(|row| if is_there(&row) || row.version & 1 == 1 { row } else { Backend::default() }),
            ),
            endpoints: self.endpoints.iter().collect::<Result<_, _>>()?,
            devices: self.devices.iter().collect::<Result<_, _>>()?,
            addresses: self.addresses.iter().collect::<Result<_, _>>()?,
            settings: self.settings.get(&0, 0)?,
            paths: self.paths.keys().collect::<Result<_, _>>()?,
            quic: self.quic_servers.iter().collect::<Result<_, _>>()?,
            limits: present(limits?.into_iter()),
            orders: self.orders.iter().collect::<Result<_, _>>()?,
        })
    }
}
