//! Whose requests keep their marks of lanes: `meltemi.v1alpha1.Marks`, the config of a filter.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_balancer::Peer;
use meltemi_routing::Marks;

use crate::invalid::{Invalid, Within};
use crate::messages::meltemi::v1alpha1 as meltemi;

/// The filter's name in a listener.
pub(crate) const FILTER: &str = "meltemi.marks";
pub(crate) const TYPE: &str = "meltemi.v1alpha1.Marks";

/// By caller, which marks are taken out of its requests.
#[derive(Debug, PartialEq, Eq)]
pub struct MarkRules {
    rules: Vec<Rule>,
}

/// Who may set the marks with these keys.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    keys: Vec<String>,
    any_workload: bool,
    workloads: HashSet<(Arc<str>, Arc<str>)>,
    networks: Vec<Network>,
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl MarkRules {
    /// The marks that a caller may not set: a workload of the mesh, or (None) somebody at `address` who is
    /// none. None: it may set all.
    #[must_use]
    pub fn denied(&self, address: IpAddr, workload: Option<&Peer>) -> Option<Marks> {
        let address = address.to_canonical();
        let denied = self
            .rules
            .iter()
            .filter(|rule| !rule.allows(address, workload));
        Marks::new(denied.flat_map(|rule| &rule.keys))
    }
}

impl Rule {
    fn allows(&self, address: IpAddr, workload: Option<&Peer>) -> bool {
        match workload {
            Some(_) if self.any_workload => true,
            Some(peer) => {
                let name = (Arc::clone(&peer.namespace), Arc::clone(&peer.workload));
                self.workloads.contains(&name)
            }
            None => self.networks.iter().any(|network| network.has(address)),
        }
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let given: IpAddr = address.parse().ok()?;
        let most = if given.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits.map_or(Some(most), |bits| bits.parse().ok())?;
        let address = given.to_canonical();
        // Written as IPv4 in IPv6, whose first 96 bits are the same for all.
        let bits = if address.is_ipv4() && given.is_ipv6() {
            bits.checked_sub(96)?
        } else {
            bits
        };
        (bits <= most).then_some(Self { address, bits })
    }

    fn has(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= self.bits
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differs = own.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

/// The rules of a filter's config.
pub(crate) fn rules(from: &meltemi::Marks) -> Result<MarkRules, Invalid> {
    let rules = from
        .rules
        .iter()
        .enumerate()
        .map(|(place, from)| rule(from).within(format_args!("rules[{place}]")));
    Ok(MarkRules {
        rules: rules.collect::<Result<_, _>>()?,
    })
}

fn rule(from: &meltemi::MarkRule) -> Result<Rule, Invalid> {
    if from.keys.is_empty() || from.keys.iter().any(String::is_empty) {
        return Err(Invalid::at("keys", "is empty, or one of them is"));
    }
    let workload = |(place, name): (usize, &String)| match name.split_once('/') {
        Some((namespace, name)) => Ok((namespace.into(), name.into())),
        None => Err(Invalid::at(
            format!("workloads[{place}]"),
            format!("{name:?} is no NAMESPACE/NAME"),
        )),
    };
    let network = |(place, text): (usize, &String)| {
        Network::parse(text).ok_or_else(|| {
            Invalid::at(
                format!("networks[{place}]"),
                format!("{text:?} is no network, as 10.0.0.0/8 is"),
            )
        })
    };
    Ok(Rule {
        keys: from.keys.clone(),
        any_workload: from.any_workload,
        workloads: from
            .workloads
            .iter()
            .enumerate()
            .map(workload)
            .collect::<Result<_, _>>()?,
        networks: from
            .networks
            .iter()
            .enumerate()
            .map(network)
            .collect::<Result<_, _>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> Peer {
        let empty: Arc<str> = "".into();
        Peer {
            workload: name.into(),
            namespace: "shop".into(),
            app: Arc::clone(&empty),
            version: Arc::clone(&empty),
            cluster: empty,
        }
    }

    fn only(rule: meltemi::MarkRule) -> MarkRules {
        rules(&meltemi::Marks { rules: vec![rule] }).expect("a rule")
    }

    fn env() -> meltemi::MarkRule {
        meltemi::MarkRule {
            keys: vec!["env".to_owned()],
            ..meltemi::MarkRule::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_workload_is_judged_by_its_name_and_nobody_else_by_it() {
        let rules = only(meltemi::MarkRule {
            workloads: vec!["shop/front".to_owned()],
            networks: vec!["127.0.0.0/8".to_owned()],
            ..env()
        });
        let at = address("127.5.0.1");
        assert_eq!(rules.denied(at, Some(&peer("front"))), None);
        // The network is about those who are no workload of the mesh.
        assert_eq!(rules.denied(at, Some(&peer("back"))), Marks::new(["env"]));
        assert_eq!(rules.denied(at, None), None);
        assert_eq!(rules.denied(address("10.0.0.1"), None), Marks::new(["env"]));
    }

    #[test]
    fn any_workload_is_no_stranger() {
        let rules = only(meltemi::MarkRule {
            any_workload: true,
            ..env()
        });
        let at = address("127.5.0.1");
        assert_eq!(rules.denied(at, Some(&peer("back"))), None);
        assert_eq!(rules.denied(at, None), Marks::new(["env"]));
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_as_it_does() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("10.0.0.0/8", "::ffff:10.2.3.4", "::ffff:11.2.3.4"),
            ("::ffff:10.0.0.0/104", "10.2.3.4", "11.2.3.4"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1/128", "::1", "::2"),
        ] {
            let rules = only(meltemi::MarkRule {
                networks: vec![network.to_owned()],
                ..env()
            });
            assert_eq!(rules.denied(address(inside), None), None, "{network}");
            assert!(rules.denied(address(outside), None).is_some(), "{network}");
        }
    }

    #[test]
    fn marks_of_all_groups_that_do_not_allow_a_caller_are_taken_out() {
        let lane = meltemi::MarkRule {
            keys: vec!["lane".to_owned()],
            any_workload: true,
            ..meltemi::MarkRule::default()
        };
        let both = rules(&meltemi::Marks {
            rules: vec![env(), lane],
        })
        .expect("rules");
        let at = address("127.5.0.1");
        assert_eq!(both.denied(at, Some(&peer("a"))), Marks::new(["env"]));
        assert_eq!(both.denied(at, None), Marks::new(["env", "lane"]));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place() {
        let said = |rule: meltemi::MarkRule| {
            let marks = meltemi::Marks { rules: vec![rule] };
            rules(&marks).expect_err("refused").to_string()
        };
        assert_eq!(
            said(meltemi::MarkRule::default()),
            "rules[0].keys: is empty, or one of them is"
        );
        let workloads = vec!["front".to_owned()];
        assert_eq!(
            said(meltemi::MarkRule { workloads, ..env() }),
            "rules[0].workloads[0]: \"front\" is no NAMESPACE/NAME"
        );
        for wrong in [
            "10.0.0.0/33",
            "10.0.0.0/x",
            "all",
            "::ffff:10.0.0.0/8",
            "::/129",
        ] {
            let networks = vec![wrong.to_owned()];
            assert_eq!(
                said(meltemi::MarkRule { networks, ..env() }),
                format!("rules[0].networks[0]: {wrong:?} is no network, as 10.0.0.0/8 is")
            );
        }
    }
}
