//! Which addresses a list may name: those of the internet, not those of this machine or its network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// An address that is not asked.
#[derive(Debug)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("refused host")
    }
}

impl std::error::Error for Refused {}

/// Looks at each address before it is asked, after redirects too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard {
    /// Let this machine's own addresses through.
    pub(super) loopback: bool,
    /// A proxy looks names up, so that here only the proxy's own name is seen.
    pub(super) proxy: bool,
}

impl Guard {
    fn admits(self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => is_public(address) || (self.loopback && address.is_loopback()),
            IpAddr::V6(address) => match embedded(address) {
                Some(inside) => self.admits(IpAddr::V4(inside)),
                None => is_public_v6(address) || (self.loopback && address.is_loopback()),
            },
        }
    }

    /// Whether an address as it is written may be asked; names are looked at when they are resolved.
    pub(super) fn admits_url(self, url: &Url) -> bool {
        if !matches!(url.scheme(), "http" | "https") {
            return false;
        }
        let Some(host) = url.host_str() else { return false };
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) => self.admits(address),
            Err(_) => self.loopback || !(host == "localhost" || host.ends_with(".localhost")),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            let allowed: Vec<SocketAddr> =
                found.iter().copied().filter(|address| guard.proxy || guard.admits(address.ip())).collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(Refused.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

impl From<Guard> for Arc<dyn Resolve> {
    fn from(guard: Guard) -> Self {
        Arc::new(guard)
    }
}

/// Whether an address belongs to the internet (IANA's special-purpose registry has the others).
fn is_public(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let special = first == 0
        || first >= 240
        || (first == 100 && (64..128).contains(&second))
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && (18..20).contains(&second));
    !(special
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast())
}

/// Only 2000::/3 is given out, and of it not what documentation uses.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    (0x2000..0x4000).contains(&first) && (first, second) != (0x2001, 0x0db8)
}

/// The IPv4 address within a mapped one, one of NAT64 or one of 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let four = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(four(high, low)),
        [0x2002, high, low, ..] => Some(four(high, low)),
        _ => address.to_ipv4_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_is_asked() {
        let admits =
            |loopback, url: &str| Guard { loopback, proxy: false }.admits_url(&Url::parse(url).unwrap());
        for url in ["http://8.8.8.8/a.jpg", "https://[2606:4700::1]/", "http://example.org:8080/x"] {
            assert!(admits(false, url), "{url}");
        }
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://localhost/",
            "http://a.localhost/",
            "http://10.0.0.1/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/latest/",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://[::1]/",
            "http://[::]/",
            "http://[fd00::1]/",
            "http://[fe80::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "file:///etc/passwd",
            "ftp://example.org/",
        ] {
            assert!(!admits(false, url), "{url}");
        }
        assert!(admits(true, "http://127.0.0.1:80/") && !admits(true, "http://10.0.0.1/"));
    }

    #[test]
    fn names_are_looked_at_when_they_are_resolved() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = |loopback, proxy| {
            runtime
                .block_on(Guard { loopback, proxy }.resolve("localhost".parse().unwrap()))
                .map(|found| found.count())
        };
        assert!(found(false, false).is_err_and(|error| error.is::<Refused>()));
        assert!(
            found(true, false).is_ok_and(|count| count > 0)
                && found(false, true).is_ok_and(|count| count > 0)
        );
    }
}
