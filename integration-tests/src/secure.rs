//! A broker and a database that let in only who comes encrypted, proves who it is, and has the right.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use testcontainers::ImageExt;
use testcontainers::core::{ExecCommand, IntoContainerPort};

use crate::certificates::Certificates;
use crate::containers::{self, Container};
use crate::kafka::{self, command};
use crate::log::Log;
use crate::postgres::{self, Postgres};

/// Who comes in by the secured listener.
pub const USER: &str = "writer";

/// A broker with a listener for SASL/SCRAM over TLS, and one for the tests themselves.
#[derive(Debug)]
pub struct SecureKafka {
    container: Container,
    direct: u16,
    secure: u16,
}

impl SecureKafka {
    /// Starts a broker where nobody but the tests has any right.
    pub async fn start(certificates: &Certificates) -> Result<Self> {
        let keystore = format!("{}{}", certificates.key, certificates.server);
        let request = |[direct, secure]: [u16; 2]| {
            let advertised = format!(
                "DIRECT://127.0.0.1:{direct},SECURE://localhost:{secure},INSIDE://localhost:9093"
            );
            kafka::single()
                .with_mapped_port(direct, 9092.tcp())
                .with_mapped_port(secure, 9095.tcp())
                .with_copy_to("/etc/kafka/secrets/keystore.pem", keystore.clone().into_bytes())
                .with_env_var(
                    "KAFKA_LISTENERS",
                    "DIRECT://:9092,INSIDE://:9093,CONTROLLER://:9094,SECURE://:9095",
                )
                .with_env_var("KAFKA_ADVERTISED_LISTENERS", advertised)
                .with_env_var(
                    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                    "DIRECT:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
                )
                .with_env_var("KAFKA_SSL_KEYSTORE_TYPE", "PEM")
                .with_env_var("KAFKA_SSL_KEYSTORE_LOCATION", "/etc/kafka/secrets/keystore.pem")
                .with_env_var("KAFKA_SASL_ENABLED_MECHANISMS", "SCRAM-SHA-512")
                .with_env_var(
                    "KAFKA_LISTENER_NAME_SECURE_SCRAM___SHA___512_SASL_JAAS_CONFIG",
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;",
                )
                .with_env_var(
                    "KAFKA_AUTHORIZER_CLASS_NAME",
                    "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                )
                .with_env_var("KAFKA_SUPER_USERS", "User:ANONYMOUS")
        };
        let (container, [direct, secure]) = containers::start(request).await?;
        kafka::answers(&format!("127.0.0.1:{direct}")).await?;
        Ok(Self { container, direct, secure })
    }

    /// Where the tests connect, without any proof.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.direct)
    }

    /// The port of the secured listener; its certificate is for `localhost`.
    pub fn port(&self) -> u16 {
        self.secure
    }

    /// A topic, and the tests' own client.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<Log> {
        kafka::create_topic(&self.bootstrap(), name, partitions, 1).await?;
        Log::new(&self.bootstrap())
    }

    /// Gives [`USER`] a password, and the rights that `docs/security.md` names on a topic and a group.
    pub async fn let_in(&self, password: &str, topic: &str, group: &str) -> Result<()> {
        let rights = r#"
            $acls "User:$1" --operation Read --topic "$3" --group "$4"
            $acls "User:$1" --operation DescribeConfigs --topic "$3"
        "#;
        self.give(rights, [password, topic, group]).await
    }

    /// Gives [`USER`] a password, and the rights that `docs/security.md` names for a producer that
    /// does not follow.
    pub async fn let_in_to_write(&self, password: &str, topic: &str, group: &str) -> Result<()> {
        let rights = r#"
            $acls "User:$1" --operation Write --operation Describe --topic "$3"
            $acls "User:$1" --operation Describe --group "$4"
        "#;
        self.give(rights, [password, topic, group]).await
    }

    /// A password, and rights in the shell's words: `$acls` adds one, `$1` is the user, `$3` the topic,
    /// `$4` the group.
    async fn give(&self, rights: &str, [password, topic, group]: [&str; 3]) -> Result<()> {
        let begin = r#"
            set -e
            PATH=/opt/kafka/bin:$PATH
            to="--bootstrap-server localhost:9093"
            acls="kafka-run-class.sh org.apache.kafka.tools.AclCommand $to --add --allow-principal"
            kafka-configs.sh $to --alter --entity-type users --entity-name "$1" \
                --add-config "SCRAM-SHA-512=[password=$2]"
        "#;
        let script = format!("{begin}{rights}");
        let run = ["bash", "-c", &script, "bash", USER, password, topic, group];
        command(&self.container, ExecCommand::new(run)).await.map(drop)
    }

    /// Gives [`USER`] the right to write to a topic, or takes it away.
    pub async fn may_write(&self, topic: &str, may: bool) -> Result<()> {
        let script = r#"
            PATH=/opt/kafka/bin:$PATH
            kafka-run-class.sh org.apache.kafka.tools.AclCommand --bootstrap-server localhost:9093 \
                "$1" --force --allow-principal "User:$2" --operation Write --topic "$3"
        "#;
        let change = if may { "--add" } else { "--remove" };
        let run = ["bash", "-c", script, "bash", change, USER, topic];
        command(&self.container, ExecCommand::new(run)).await.map(drop)
    }
}

/// A database that takes only encrypted connections, and shows a certificate for `localhost`.
pub async fn secure_postgres(certificates: &Certificates) -> Result<Postgres> {
    let set_up = r#"
        cat /tls/server.pem >"$PGDATA/server.pem"
        cat /tls/server.key >"$PGDATA/server.key"
        chmod 600 "$PGDATA/server.key"
        printf "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n" \
            >>"$PGDATA/postgresql.conf"
        printf 'local all all trust\nhostssl all all all scram-sha-256\n' >"$PGDATA/pg_hba.conf"
    "#;
    let files = BTreeMap::from([
        ("/tls/server.pem", certificates.server.clone()),
        ("/tls/server.key", certificates.key.clone()),
        ("/docker-entrypoint-initdb.d/tls.sh", set_up.to_owned()),
    ]);
    let with_files = |request: testcontainers::ContainerRequest<_>| {
        files.iter().fold(request, |request, (path, text)| {
            request.with_copy_to(*path, text.clone().into_bytes())
        })
    };
    Postgres::started_by(|port| with_files(postgres::request(port)))
        .await
        .context("a database that wants encryption")
}
