//! Which services a plan stops, starts and reloads.
//!
//! Owns the choice from the triggers of the old and the new image. Invariants: a service that is stopped is started
//! again; a service to be restarted is not reloaded as well; if the machine is to reboot no service is touched; the
//! agent never stops itself, it is restarted when everything else is done.
//!
//! Does not stop anything (`agent/daemon` service) and does not ask for permission.

use std::collections::{BTreeMap, BTreeSet};

use dominator_store_core::{TreePath, Trigger, TriggerAction};

/// Name of the agent's own service.
pub const AGENT_SERVICE: &str = "subd";

/// What a plan does with services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicePlan {
    /// Services to stop before the first step, in order.
    pub stop: Vec<String>,
    /// Services to start after the last step, in order.
    pub start: Vec<String>,
    /// Services to reload after the last step, in order.
    pub reload: Vec<String>,
    /// Whether the machine is to reboot when the plan is done.
    pub reboot: bool,
    /// Whether the agent is to restart when the plan is done.
    pub restart_agent: bool,
    /// Whether any of this disturbs users enough to ask for permission first.
    pub high_impact: bool,
}

/// Chooses services by the triggers of both images that match a changed path.
///
/// A service that only the old image knows is stopped and started too: that its trigger went does not mean that it did.
/// Where both images order a service, the new order holds.
pub fn select_services<'a>(
    old: &[Trigger],
    new: &[Trigger],
    changed: impl IntoIterator<Item = &'a TreePath>,
) -> ServicePlan {
    let mut waiting: Vec<&Trigger> = new.iter().chain(old).collect();
    let mut matched: Vec<&Trigger> = Vec::new();
    for path in changed {
        waiting.retain(|trigger| {
            let hit = trigger.matches(path);
            if hit {
                matched.push(trigger);
            }
            !hit
        });
        if waiting.is_empty() {
            break;
        }
    }
    let mut plan = ServicePlan { high_impact: matched.iter().any(|trigger| trigger.high_impact), ..Default::default() };
    if matched.iter().any(|trigger| trigger.action == TriggerAction::Reboot) {
        plan.reboot = true;
        return plan;
    }
    let order = orders(old, new);
    let services = |action| -> BTreeSet<(u32, &str)> {
        matched
            .iter()
            .filter(|trigger| trigger.action == action && !trigger.service.is_empty())
            .map(|trigger| {
                (order.get(trigger.service.as_str()).copied().unwrap_or(trigger.order), trigger.service.as_str())
            })
            .collect()
    };
    let restart = services(TriggerAction::Restart);
    let reload = services(TriggerAction::Reload);
    plan.restart_agent = restart.iter().chain(&reload).any(|(_, service)| is_agent(service));
    let others = |set: &BTreeSet<(u32, &str)>| -> Vec<String> {
        set.iter().filter(|(_, service)| !is_agent(service)).map(|(_, service)| (*service).to_owned()).collect()
    };
    plan.start = others(&restart);
    plan.stop = plan.start.iter().rev().cloned().collect();
    plan.reload = others(&reload.difference(&restart).copied().collect());
    plan
}

fn is_agent(service: &str) -> bool {
    service.strip_suffix(".service").unwrap_or(service) == AGENT_SERVICE
}

/// Returns the order of every service, that of the new image before that of the old, the lowest of each.
fn orders<'a>(old: &'a [Trigger], new: &'a [Trigger]) -> BTreeMap<&'a str, u32> {
    let mut orders: BTreeMap<&str, u32> = BTreeMap::new();
    for triggers in [old, new] {
        let mut lowest: BTreeMap<&str, u32> = BTreeMap::new();
        for trigger in triggers {
            let order = lowest.entry(&trigger.service).or_insert(trigger.order);
            *order = trigger.order.min(*order);
        }
        orders.extend(lowest);
    }
    orders
}

#[cfg(test)]
mod tests {
    use dominator_store_core::{Pattern, PatternKind};

    use super::*;

    fn trigger(pattern: &str, service: &str, action: TriggerAction, order: u32) -> Trigger {
        Trigger {
            patterns: vec![Pattern::new(PatternKind::Glob, pattern).expect("pattern")],
            service: service.to_owned(),
            action,
            order,
            high_impact: service == "db",
        }
    }

    fn select(old: &[Trigger], new: &[Trigger], changed: &[&str]) -> ServicePlan {
        let paths: Vec<TreePath> = changed.iter().map(|path| TreePath::parse(path.as_bytes()).expect("path")).collect();
        select_services(old, new, &paths)
    }

    #[test]
    fn services_stop_in_reverse_and_start_in_order() {
        use TriggerAction::{Reload, Restart};
        let old = [trigger("/etc/web/*", "web", Restart, 5), trigger("/etc/gone/*", "gone", Restart, 1)];
        let new = [
            trigger("/etc/web/*", "web", Restart, 20),
            trigger("/etc/db/*", "db", Restart, 10),
            trigger("/etc/**", "log", Reload, 1),
            trigger("/etc/web/*", "web", Reload, 1),
            trigger("/usr/**", "subd.service", Restart, 1),
        ];
        let plan = select(&old, &new, &["etc/web/a", "etc/gone/b", "etc/db/c"]);
        assert_eq!(plan.start, ["gone", "web", "db"]);
        assert_eq!(plan.stop, ["db", "web", "gone"]);
        assert_eq!(plan.reload, ["log"]);
        assert!(plan.high_impact && !plan.reboot && !plan.restart_agent);
        let plan = select(&old, &new, &["usr/bin/subd"]);
        assert_eq!((plan.stop.len(), plan.start.len(), plan.restart_agent), (0, 0, true));
        assert_eq!(select(&old, &new, &["home/x"]), ServicePlan::default());
    }

    #[test]
    fn a_reboot_leaves_services_alone() {
        let new = [trigger("/boot/*", "", TriggerAction::Reboot, 0), trigger("/**", "web", TriggerAction::Restart, 0)];
        let plan = select(&[], &new, &["boot/vmlinuz", "etc/x"]);
        assert_eq!(plan, ServicePlan { reboot: true, ..Default::default() });
    }
}
