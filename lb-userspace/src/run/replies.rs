//! What requests on the control socket are answered.

use std::time::Instant;

use anyhow::Result;

use super::footing::Footing;
use crate::api::server::{Answer, Request};
use crate::config::Share;
use crate::controller::Controller;
use crate::dataplane::kernel::Kernel;
use crate::survey::{Purpose, Survey};

/// Answers a request; a request to detach is answered by whoever ends.
pub(super) fn reply(
    controller: &mut Controller<Kernel>,
    survey: &mut Survey,
    footing: &Footing,
    problems: impl Iterator<Item = String>,
    request: Request,
) -> Option<Answer<()>> {
    let now = Instant::now();
    // Whoever asked may have gone: then nobody misses the answer.
    match request {
        Request::Status(answer) => {
            let status = controller.status(footing.attachments.rows(), problems.collect(), now);
            drop(answer.send(Ok(status)));
        }
        Request::Services(answer) => drop(answer.send(said(controller.services()))),
        Request::Backends(service, answer) => drop(answer.send(said(controller.backends(service.as_deref())))),
        Request::Limits(service, answer) => drop(answer.send(said(controller.limits(service.as_deref())))),
        Request::Buckets(service, answer) => drop(answer.send(said(controller.pressure(&service, now)))),
        Request::SetLimit(order, answer) => drop(answer.send(said(controller.set_limit(&order, now)))),
        Request::UnsetLimits(of, answer) => drop(answer.send(said(controller.unset_limits(&of.service, now)))),
        Request::Ledger(answer) => drop(answer.send(said(controller.ledger(footing.attachments.rows())))),
        Request::Drains(of, answer) => drop(answer.send(said(controller.drains(&of)))),
        Request::Drain(order, answer) => drop(answer.send(said(controller.drain(&order, now)))),
        Request::Undrain(which, answer) => drop(answer.send(said(controller.undrain(&which, now)))),
        Request::Weight(order, answer) => drop(answer.send(said(controller.weigh(&order, now)))),
        Request::Plan(question, answer) => survey.begin(controller, Purpose::Plan(question, answer)),
        Request::Reload(order, answer) => {
            let max_moved = order.max_moved_ppm.map(Share);
            survey.begin(controller, Purpose::Reload(max_moved, Some(answer)));
        }
        Request::Detach(answer) => return Some(answer),
    }
    None
}

fn said<T>(result: Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{error:#}"))
}
