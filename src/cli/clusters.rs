//! What the configurations of this host say of each cluster of one repository, for a tool that may read several clusters at
//! once. A rule of one cluster is none of another.

use super::config::Config;
use super::readable::{read_if_allowed, readable_list};
use super::variable;

/// The configurations whose repository it is.
#[derive(Debug, Default)]
pub struct Clusters {
    found: Vec<Config>,
    /// Why there may be more of them.
    unread: Option<String>,
    /// The environment is one cluster's, as in a script: nothing else is asked.
    is_environment: bool,
}

impl Clusters {
    /// Of the repository at `url`. What cannot be read is no error before it is asked for.
    pub fn of(url: &str) -> Self {
        let mut clusters = Clusters { is_environment: variable("PGV_REPO").is_some(), ..Clusters::default() };
        if clusters.is_environment {
            return clusters;
        }
        let paths = match readable_list() {
            Ok(Some(paths)) => paths,
            Ok(None) => {
                clusters.unread = Some("this user may not list the configurations".to_owned());
                return clusters;
            }
            Err(error) => {
                clusters.unread = Some(error.message().to_owned());
                return clusters;
            }
        };
        for path in paths {
            match read_if_allowed(&path) {
                Ok(Some(config)) if is_same(config.get("PGV_REPO"), url) => clusters.found.push(config),
                Ok(Some(_)) => {}
                Ok(None) => clusters.unread = Some(format!("this user may not read {}", path.display())),
                Err(error) => clusters.unread = Some(error.message().to_owned()),
            }
        }
        clusters
    }

    /// The value of `key` for this cluster: of the environment, which wins, or of the configurations of the cluster. Or why
    /// it is not known.
    pub fn get(&self, cluster: &str, system: Option<u64>, key: &str) -> Result<Option<String>, String> {
        if let Some(value) = variable(key) {
            return Ok(Some(value));
        }
        let mut own = self.own(cluster, system);
        match (own.next(), &self.unread) {
            (None, Some(why)) => Err(why.clone()),
            (None, None) => Ok(None),
            (Some(first), _) => match own.find(|other| other.get(key) != first.get(key)) {
                Some(other) => {
                    Err(format!("{} and {} differ in {key}", first.file.display(), other.file.display()))
                }
                None => Ok(first.get(key).filter(|value| !value.is_empty()).map(str::to_owned)),
            },
        }
    }

    /// Whether something here could say what is configured for this cluster.
    pub fn knows(&self, cluster: &str, system: Option<u64>) -> bool {
        self.is_environment || self.own(cluster, system).next().is_some()
    }

    /// The only configuration of this cluster, or the first of several that say the same.
    pub fn only(&self, cluster: &str) -> Option<&Config> {
        let mut own = self.own(cluster, None);
        let first = own.next()?;
        own.all(|other| other.settings == first.settings).then_some(first)
    }

    /// The configuration, if the repository has only one.
    pub fn single(&self) -> Option<&Config> {
        self.found.first().filter(|_| self.found.len() == 1 && self.unread.is_none())
    }

    fn own(&self, cluster: &str, system: Option<u64>) -> impl Iterator<Item = &Config> {
        self.found.iter().filter(move |config| {
            let named = config.get("PGV_CLUSTER").filter(|name| !name.is_empty()).unwrap_or(&config.cluster);
            let of = config.get("PGV_SYSTEM_ID").and_then(|text| text.parse::<u64>().ok());
            named == cluster && of.is_none_or(|of| system.is_none_or(|system| system == of))
        })
    }
}

fn is_same(configured: Option<&str>, url: &str) -> bool {
    configured.is_some_and(|own| own.trim_end_matches('/') == url.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config::Setting;

    fn config(name: &str, settings: &[(&str, &str)]) -> Config {
        let setting =
            |(key, value): &(&str, &str)| Setting { key: (*key).to_owned(), value: (*value).to_owned() };
        Config {
            file: format!("/etc/pgv/{name}.conf").into(),
            cluster: name.to_owned(),
            settings: settings.iter().map(setting).collect(),
            uid: 0,
        }
    }

    #[test]
    fn each_cluster_has_its_own_value() {
        let found = vec![
            config("a", &[("PGV_KEEP_FULL", "1")]),
            config("b", &[("PGV_KEEP_FULL", "2"), ("PGV_SYSTEM_ID", "7")]),
            config("standby", &[("PGV_CLUSTER", "b"), ("PGV_KEEP_FULL", "3")]),
        ];
        let mut clusters = Clusters { found, ..Clusters::default() };
        let get = |clusters: &Clusters, name, system| clusters.get(name, system, "PGV_KEEP_FULL");
        assert_eq!(get(&clusters, "a", Some(7)), Ok(Some("1".into())));
        assert_eq!(get(&clusters, "b", Some(8)), Ok(Some("3".into())), "the other is of another cluster");
        let why = get(&clusters, "b", Some(7)).unwrap_err();
        assert_eq!(why, "/etc/pgv/b.conf and /etc/pgv/standby.conf differ in PGV_KEEP_FULL");
        assert_eq!(clusters.get("b", Some(7), "PGV_KEEP_WAL"), Ok(None), "neither has it");
        assert_eq!(get(&clusters, "c", None), Ok(None));
        assert!(clusters.knows("a", None) && !clusters.knows("c", None));
        assert!(clusters.only("a").is_some() && clusters.only("b").is_none() && clusters.single().is_none());
        clusters.unread = Some("c.conf cannot be read".into());
        assert_eq!(get(&clusters, "c", None), Err("c.conf cannot be read".into()));
        assert_eq!(get(&clusters, "a", None), Ok(Some("1".into())));
    }

    #[test]
    fn a_repository_is_the_same_with_a_slash() {
        assert!(is_same(Some("s3://b/p"), "s3://b/p/") && is_same(Some("s3://b/p/"), "s3://b/p"));
        assert!(!is_same(Some("s3://b/p"), "s3://b/pp/") && !is_same(None, "s3://b/p"));
    }
}
