//! Typed parameters: what people wrote, checked and completed with defaults.

use serde_json::{Map, Value};

use super::{Kind, Parameter, Problem, Topology, problem::nearest, ssh_key};

impl Topology {
    /// All that is wrong with the parameters as given.
    pub(super) fn parameter_faults(&self, given: &Map<String, Value>) -> Vec<Problem> {
        let mut faults = Vec::new();
        for (name, value) in given {
            match self.parameters.get(name) {
                Some(parameter) => faults.extend(parameter.faults(name, value)),
                None => faults.push(self.unknown(name)),
            }
        }
        for (name, parameter) in &self.parameters {
            if parameter.required && !given.contains_key(name) {
                let (code, what) = match parameter.kind {
                    Kind::SshKeys => ("E_SSHKEY", "give at least one public key"),
                    _ => ("E_PARAM_REQUIRED", "has no default and must be given"),
                };
                faults.push(Problem::new(code, name, what));
            }
        }
        faults
    }

    /// The parameters with defaults for those not given. Every known name is present: `null`
    /// where there is no default, so that an expression can ask for it.
    pub(super) fn complete(&self, given: &Map<String, Value>) -> Map<String, Value> {
        let of = |(name, parameter): (&String, &Parameter)| {
            let value = given.get(name).or(parameter.default.as_ref());
            (name.clone(), value.cloned().unwrap_or(Value::Null))
        };
        self.parameters.iter().map(of).collect()
    }

    fn unknown(&self, name: &str) -> Problem {
        let shown: String = name.chars().take(40).collect();
        let known = || self.parameters.keys().map(String::as_str);
        let hint = match nearest(name, known()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known are {}", known().collect::<Vec<_>>().join(", ")),
        };
        let message = format!("{shown:?} is no parameter of {}; {hint}", self.id);
        Problem::new("E_PARAM_UNKNOWN", shown, message)
    }
}

impl Parameter {
    /// All that is wrong with one value.
    pub(super) fn faults(&self, name: &str, value: &Value) -> Vec<Problem> {
        let fault = |code, message: String| vec![Problem::new(code, name, message)];
        let wrong = |wanted: &str| {
            let shown: String = value.to_string().chars().take(60).collect();
            fault("E_PARAM_TYPE", format!("{shown} is not {wanted}"))
        };
        match (self.kind, value) {
            (Kind::SshKeys, Value::Array(keys)) if keys.is_empty() => {
                fault("E_SSHKEY", "the list is empty: nobody could log in".into())
            }
            (Kind::SshKeys, Value::Array(keys)) => ssh_keys(name, keys),
            (Kind::SshKeys, _) => fault("E_SSHKEY", "write a list of public key lines".into()),
            (Kind::Integer, Value::Number(number)) => match number.as_i64() {
                Some(n) if self.min.is_some_and(|min| n < min) => {
                    fault("E_PARAM_RANGE", format!("{n} is below {}", self.min.unwrap_or(n)))
                }
                Some(n) if self.max.is_some_and(|max| n > max) => {
                    fault("E_PARAM_RANGE", format!("{n} is above {}", self.max.unwrap_or(n)))
                }
                Some(_) => Vec::new(),
                None => wrong("a whole number"),
            },
            (Kind::Integer, _) => wrong("a whole number"),
            (Kind::Boolean, Value::Bool(_)) => Vec::new(),
            (Kind::Boolean, _) => wrong("true or false"),
            (Kind::Choice, Value::String(text)) if self.choices.contains(text) => Vec::new(),
            (Kind::Choice, _) => wrong(&format!("one of {:?}", self.choices)),
            (Kind::HostnamePattern, Value::String(_)) => Vec::new(),
            (Kind::HostnamePattern, _) => wrong("a text like \"node-{{ ip_dashed }}\""),
            (Kind::Cidr, Value::String(text)) => match text.parse::<ipnet::Ipv4Net>() {
                Ok(net) if net.trunc() == net => Vec::new(),
                Ok(net) => {
                    fault("E_CIDR_HOST_BITS", format!("{net} has host bits; use {}", net.trunc()))
                }
                Err(_) => wrong("a network like 10.244.0.0/16"),
            },
            (Kind::Text, Value::String(text)) if !text.chars().any(char::is_control) => Vec::new(),
            (Kind::Text, _) => wrong("a text of one line"),
            (Kind::Cidr, _) => wrong("a network like \"10.244.0.0/16\""),
        }
    }
}

fn ssh_keys(name: &str, keys: &[Value]) -> Vec<Problem> {
    let fault_of = |key: &Value| match key {
        Value::String(line) => ssh_key::fault(line),
        _ => Some("a key is a text".to_owned()),
    };
    keys.iter()
        .enumerate()
        .filter_map(|(index, key)| Some((index, fault_of(key)?)))
        .map(|(index, why)| Problem::new("E_SSHKEY", format!("{name}[{index}]"), why))
        .collect()
}
