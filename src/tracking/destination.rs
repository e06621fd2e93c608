use miette::Diagnostic;

/// Where results are sent: `mlflow=http://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Without a slash at its end, and without a password.
    pub(super) url: String,
    /// What a request says of who asks.
    pub(super) authorization: Option<String>,
    /// Whether the best weights are sent, too.
    pub(super) weights: bool,
}

/// What `--log` cannot be.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("`--log {text}` {problem}")]
#[diagnostic(code(vitx::tracking::destination), help("give a server: `--log mlflow=http://127.0.0.1:5000`"))]
pub struct DestinationError {
    text: String,
    problem: &'static str,
}

impl Destination {
    /// Reads what `--log` names. MLflow's own variables `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and
    /// `MLFLOW_TRACKING_PASSWORD`, say who asks where the address does not.
    ///
    /// # Errors
    /// What names no server.
    pub fn parse(text: &str, weights: bool) -> Result<Self, DestinationError> {
        Self::with(text, weights, |name| std::env::var(name).ok())
    }

    fn with(text: &str, weights: bool, variable: impl Fn(&str) -> Option<String>) -> Result<Self, DestinationError> {
        let refused = |problem| DestinationError { text: hidden(text), problem };
        let address = match text.split_once('=') {
            Some(("mlflow", address)) => address,
            Some((_, address)) if address.contains("://") => return Err(refused("names no server that vitx knows")),
            _ => return Err(refused("is not of the form `mlflow=URL`")),
        };
        let Some((scheme @ ("http" | "https"), rest)) = address.split_once("://") else {
            return Err(refused("has no address that begins with http:// or https://"));
        };
        if rest.contains(['?', '#', ' ']) || rest.chars().any(char::is_control) {
            return Err(refused("has more than an address"));
        }
        let (place, path) = rest.split_once('/').map_or((rest, ""), |(place, path)| (place, path));
        let (user, host) = place.rsplit_once('@').map_or((None, place), |(user, host)| (Some(user.to_owned()), host));
        if host.is_empty() || host.starts_with(':') {
            return Err(refused("names no host"));
        }
        let named =
            || Some(format!("{}:{}", variable("MLFLOW_TRACKING_USERNAME")?, variable("MLFLOW_TRACKING_PASSWORD")?));
        let basic = |user: String| {
            use base64::Engine;
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user))
        };
        let token = || variable("MLFLOW_TRACKING_TOKEN").map(|token| format!("Bearer {token}"));
        let authorization = user.map(basic).or_else(token).or_else(|| named().map(basic));
        let url = format!("{scheme}://{host}/{path}").trim_end_matches('/').to_owned();
        Ok(Self { url, authorization, weights })
    }

    /// The server, as it may be shown.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The text without a password in it.
fn hidden(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(begin), Some(end)) if begin + 3 < end => format!("{}...{}", &text[..begin + 3], &text[end..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, variables: &[(&str, &str)]) -> Result<Destination, String> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Destination::with(text, false, variable).map_err(|error| error.to_string())
    }

    #[test]
    fn who_asks_is_no_part_of_the_address() {
        let plain = of("mlflow=http://localhost:5000/", &[]).unwrap();
        assert_eq!((plain.url(), &plain.authorization), ("http://localhost:5000", &None));
        let named = of("mlflow=https://me:se@cret@host/prefix/", &[("MLFLOW_TRACKING_TOKEN", "t")]).unwrap();
        assert_eq!(named.url(), "https://host/prefix");
        assert_eq!(named.authorization.as_deref(), Some("Basic bWU6c2VAY3JldA=="));
        let token = of("mlflow=http://h", &[("MLFLOW_TRACKING_TOKEN", "t")]).unwrap();
        assert_eq!(token.authorization.as_deref(), Some("Bearer t"));
        let pair = [("MLFLOW_TRACKING_USERNAME", "a"), ("MLFLOW_TRACKING_PASSWORD", "b")];
        assert_eq!(of("mlflow=http://h", &pair).unwrap().authorization.as_deref(), Some("Basic YTpi"));
    }

    #[test]
    fn what_names_no_server_is_refused() {
        let all = [
            "mlflow",
            "http://h",
            "wandb=http://h",
            "mlflow=h:5000",
            "mlflow=ftp://h",
            "mlflow=http://",
            "mlflow=http://:80",
            "mlflow=http://h?x",
            "mlflow=http://u:secret@h#x",
        ];
        insta::assert_snapshot!(all.map(|text| of(text, &[]).unwrap_err()).join("\n"));
    }
}
