//! `weir refusals`: what became of every packet.

use std::process::ExitCode;

use anyhow::Result;

use super::table::{Side, table};
use super::{Output, Socket};
use crate::api::types::{Carried, Ledger};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also the reasons that nothing was refused for
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

impl Args {
    pub(super) async fn execute(self) -> Result<ExitCode> {
        let ledger: Ledger = self.socket.client()?.get("ledger", &[]).await?;
        self.output.print(&ledger, |ledger| text(ledger, self.all))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(ledger: &Ledger, all: bool) -> String {
    let heads = [("FORWARDED", Side::Left), ("REQUESTS", Side::Right), ("REPLIES", Side::Right)];
    let gone = Carried { service: "(services that are gone)".to_owned(), ..ledger.gone.clone() };
    let gone = Some(gone).filter(|gone| all || gone.packets + gone.reply_packets > 0);
    let rows: Vec<Vec<String>> = ledger
        .services
        .iter()
        .chain(&gone)
        .map(|row| vec![row.service.clone(), row.packets.to_string(), row.reply_packets.to_string()])
        .collect();
    let mut text = table(&heads, &rows, "no service is configured");
    let heads = [
        ("NOT FORWARDED", Side::Left),
        ("PACKETS", Side::Right),
        ("OUTCOME", Side::Left),
        ("WHAT IT MEANS, AND WHAT TO DO", Side::Left),
    ];
    let counted = ledger.refusals.iter().filter(|row| all || row.packets > 0);
    let rows: Vec<Vec<String>> = counted
        .map(|row| {
            let meaning = format!("{} To do: {}.", row.meaning, row.advice.trim_end_matches('.'));
            vec![row.name.clone(), row.packets.to_string(), row.action.clone(), meaning]
        })
        .collect();
    text.push('\n');
    text.push_str(&table(&heads, &rows, "every packet was forwarded"));
    text.push_str(&format!("\n{} packets in all, each counted once\n", ledger.sum));
    if ledger.inside > 0 {
        text.push_str(&format!("{} of them from containers behind bridges, or from this host\n", ledger.inside));
    }
    for row in &ledger.interfaces {
        let received = row.received.map_or_else(
            || ": what it received since then is not known".to_owned(),
            |packets| format!(" received {packets} since Weir was attached"),
        );
        text.push_str(&format!("{} ({}){received}\n", row.name, row.mode));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::{InterfaceRow, RefusalRow};

    fn refusal(name: &str, packets: u64) -> RefusalRow {
        RefusalRow {
            name: name.into(),
            action: "drop".into(),
            packets,
            meaning: "Why.".into(),
            advice: "nothing".into(),
        }
    }

    #[test]
    fn the_ledger_adds_up() {
        let carried =
            |service: &str, packets, reply_packets| Carried { service: service.into(), packets, reply_packets };
        let mut ledger = Ledger {
            services: vec![carried("web", 10, 9)],
            gone: carried("", 3, 2),
            refusals: vec![refusal("malformed", 4), refusal("no_backend", 0)],
            sum: 0,
            inside: 5,
            interfaces: vec![
                InterfaceRow { name: "eth0".into(), mode: "native".into(), received: Some(28) },
                InterfaceRow { name: "eth1".into(), mode: "skb".into(), received: None },
            ],
        };
        ledger.add_up();
        let expected = "\
FORWARDED                 REQUESTS  REPLIES
web                             10        9
(services that are gone)         3        2

NOT FORWARDED  PACKETS  OUTCOME  WHAT IT MEANS, AND WHAT TO DO
malformed            4  drop     Why. To do: nothing.

28 packets in all, each counted once
5 of them from containers behind bridges, or from this host
eth0 (native) received 28 since Weir was attached
eth1 (skb): what it received since then is not known
";
        assert_eq!(text(&ledger, false), expected);
        assert!(text(&ledger, true).contains("no_backend"));
    }
}
