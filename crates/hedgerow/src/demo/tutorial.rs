//! The story: a database that lets in one security group, and two pods on one node of which one
//! carries that group.

use std::time::Duration;

use anyhow::{Context, Result};

use super::findings::Findings;
use super::shell::Shell;
use crate::lab::state::cache_dir;

/// How long the cluster may take for one thing, such as a pod's start.
const PATIENCE: Duration = Duration::from_secs(60);
/// A change of rules acts on the next connection; flow-log lines come once a second.
const SOON: Duration = Duration::from_secs(10);

const REACHED: &str = "PostgreSQL 15";
const REFUSED: &str = "timeout expired";

/// Walks the tutorial in a lab that does not exist yet, and notes what was found.
///
/// # Errors
/// When a command fails. A pod that reaches what it should not is a finding, not an error.
pub fn tell(shell: &mut Shell, lab_up: &str, findings: &mut Findings) -> Result<()> {
    cluster(shell, lab_up)?;
    groups(shell)?;
    database(shell)?;
    switch_on(shell)?;
    policy(shell)?;
    database_endpoint(shell)?;
    pods(shell, findings)?;
    what_the_cluster_says(shell, findings)?;
    what_the_vpc_says(shell, findings)?;
    rules_are_alive(shell, findings)
}

fn cluster(shell: &mut Shell, lab_up: &str) -> Result<()> {
    shell.tell("A Kubernetes cluster with one m5.xlarge node, in a VPC on this machine");
    shell.run_drawing(lab_up)?;
    shell.eval("hedgerow lab env")?;
    // Long before its first pod comes up the agent has restarted.
    shell.run("kubectl set env daemonset -n kube-system aws-node ENABLE_POD_ENI=true")?;
    Ok(())
}

fn groups(shell: &mut Shell) -> Result<()> {
    shell.tell("The cluster's own group and VPC, as EKS tells them");
    for (variable, what) in
        [("CLUSTER_SECURITY_GROUP_ID", "clusterSecurityGroupId"), ("VPC_ID", "vpcId")]
    {
        shell.assign(
            variable,
            &format!(
                "aws eks describe-cluster --name $CLUSTER_NAME \
                 --query cluster.resourcesVpcConfig.{what} --output text"
            ),
        )?;
    }
    shell.tell("A group for the application, and one for the database that lets only it in");
    for (variable, name, what) in
        [("APP_SG", "app", "application"), ("DB_SG", "database", "PostgreSQL")]
    {
        shell.assign(
            variable,
            &format!(
                "aws ec2 create-security-group --group-name {name} --description {what} \
                 --vpc-id $VPC_ID --query GroupId --output text"
            ),
        )?;
    }
    shell.run(
        "aws ec2 authorize-security-group-ingress --group-id $DB_SG --protocol tcp --port 5432 \
         --source-group $APP_SG --query 'SecurityGroupRules[0].SecurityGroupRuleId' --output text",
    )?;
    Ok(())
}

/// Asked for here, needed by the pods: RDS makes it meanwhile.
fn database(shell: &Shell) -> Result<()> {
    shell.tell("A PostgreSQL database of RDS in the private subnets, behind the database group");
    shell.run(
        "aws rds create-db-subnet-group --db-subnet-group-name private \
         --db-subnet-group-description private --subnet-ids $SUBNET_IDS \
         --query DBSubnetGroup.SubnetGroupStatus --output text",
    )?;
    shell.run(
        "aws rds create-db-instance --db-instance-identifier tutorial --engine postgres \
         --db-instance-class db.t3.micro --allocated-storage 20 --db-subnet-group-name private \
         --vpc-security-group-ids $DB_SG --master-username postgres \
         --master-user-password hedge-row-1 --no-publicly-accessible \
         --query DBInstance.DBInstanceStatus --output text",
    )?;
    Ok(())
}

fn database_endpoint(shell: &mut Shell) -> Result<()> {
    shell.tell("The database's endpoint is a name that the VPC's DNS knows");
    let status = "aws rds describe-db-instances --db-instance-identifier tutorial \
                  --query 'DBInstances[].DBInstanceStatus' --output text";
    shell.until(status, PATIENCE, |seen| seen.text != "creating")?;
    shell.run(status)?;
    shell.assign(
        "DB_HOST",
        "aws rds describe-db-instances --db-instance-identifier tutorial \
         --query 'DBInstances[0].Endpoint.Address' --output text",
    )?;
    shell.run("kubectl create secret generic database --from-literal=HOST=$DB_HOST --from-literal=PASSWORD=hedge-row-1")?;
    Ok(())
}

fn switch_on(shell: &mut Shell) -> Result<()> {
    shell.tell(
        "The node has asked for a trunk since ENABLE_POD_ENI=true, and has room for branches",
    );
    shell.run("kubectl rollout status daemonset -n kube-system aws-node --timeout=60s")?;
    shell.run(
        "kubectl wait nodes --all --for=jsonpath='{.status.allocatable.vpc\\.amazonaws\\.com/pod-eni}' \
         --timeout=60s",
    )?;
    shell.run("kubectl get nodes -L vpc.amazonaws.com/has-trunk-attached")?;
    Ok(())
}

fn policy(shell: &Shell) -> Result<()> {
    shell.tell("Pods whose service account has role: backend get the cluster's group and the application's");
    apply(shell, include_str!("../../../../lab/demo/service-account.yaml"))?;
    apply(shell, include_str!("../../../../lab/demo/policy.yaml"))?;
    shell.run(
        "kubectl wait namespace default --timeout=20s \
         --for=jsonpath='{.metadata.labels.hedgerow\\.dev/pod-security-groups}'=enforced",
    )?;
    Ok(())
}

fn pods(shell: &Shell, findings: &mut Findings) -> Result<()> {
    shell.tell("Two pods that try to connect: with that service account, and without");
    let images = cache_dir().join("images/demo");
    shell.run(&format!("hedgerow lab load-image {}/postgres-test.tar", images.display()))?;
    apply(shell, include_str!("../../../../lab/demo/postgres-test.yaml"))?;
    apply(shell, include_str!("../../../../lab/demo/postgres-test-no-sa.yaml"))?;
    let first = logs(shell, "postgres-test")?;
    findings.contains("postgres-test connects", REACHED, &first);
    let second = logs(shell, "postgres-test-no-sa")?;
    findings.contains("postgres-test-no-sa does not", REFUSED, &second);
    shell.run("kubectl get pods -o wide")?;
    let node = |pod| format!("kubectl get pod {pod} -o jsonpath='{{.spec.nodeName}}'");
    let nodes = (shell.quiet(&node("postgres-test"))?, shell.quiet(&node("postgres-test-no-sa"))?);
    findings.equal("both run on one node", &nodes.0.text, &nodes.1.text);
    Ok(())
}

fn what_the_cluster_says(shell: &mut Shell, findings: &mut Findings) -> Result<()> {
    shell.tell("What the cluster says of the first pod");
    let events = shell.run(
        "kubectl get events --field-selector involvedObject.name=postgres-test \
         -o custom-columns=REASON:.reason,MESSAGE:.message",
    )?;
    for reason in ["SecurityGroupRequested", "ResourceAllocated"] {
        findings.contains(&format!("event {reason}"), reason, &events);
    }
    let annotation = shell.run(
        "kubectl get pod postgres-test \
         -o jsonpath='{.metadata.annotations.vpc\\.amazonaws\\.com/pod-eni}{\"\\n\"}'",
    )?;
    let interfaces: serde_json::Value =
        serde_json::from_str(&annotation).context("reading the pod-eni annotation as JSON")?;
    let interface = interfaces[0]["eniId"].as_str().context("no eniId in the annotation")?;
    shell.set("ENI", interface);
    let groups = shell.run(
        "aws ec2 describe-network-interfaces --network-interface-ids $ENI \
         --query 'NetworkInterfaces[0].Groups[].GroupId' --output text",
    )?;
    let sorted = |words: &str| {
        let mut words: Vec<&str> = words.split_whitespace().collect();
        words.sort_unstable();
        words.join(" ")
    };
    let wanted =
        format!("{} {}", shell.variable("CLUSTER_SECURITY_GROUP_ID"), shell.variable("APP_SG"));
    findings.equal("its interface has both groups", &sorted(&wanted), &sorted(&groups));
    Ok(())
}

fn what_the_vpc_says(shell: &mut Shell, findings: &mut Findings) -> Result<()> {
    shell.tell("What the VPC says of the second: the flow log names the drop");
    shell.assign("POD_IP", "kubectl get pod postgres-test-no-sa -o jsonpath='{.status.podIP}'")?;
    shell.assign(
        "DB_IP",
        "aws ec2 describe-network-interfaces --filters Name=description,Values=RDSNetworkInterface \
         --query 'NetworkInterfaces[0].PrivateIpAddress' --output text",
    )?;
    let search = "grep \"$POD_IP $DB_IP .* 5432 .* REJECT\" $FLOW_LOG | tail -n 1";
    // If none comes, the table says so.
    let _ = shell.until(search, SOON, |seen| !seen.text.is_empty());
    let line = shell.run(search)?;
    let named = format!("groups={} reason=ingress_groups", shell.variable("DB_SG"));
    findings.contains("the flow log names the drop", &named, &line);
    Ok(())
}

fn rules_are_alive(shell: &Shell, findings: &mut Findings) -> Result<()> {
    let change = |verb: &str| {
        format!(
            "aws ec2 {verb}-security-group-ingress --group-id $DB_SG --protocol tcp --port 5432 \
             --source-group $APP_SG --query Return"
        )
    };
    shell.tell("The groups are alive: without the rule, a new run of the first pod fails");
    shell.run(&change("revoke"))?;
    let without = run_again(shell)?;
    findings.contains("rule revoked: it fails", REFUSED, &without);
    shell.tell("With the rule again, it connects");
    shell.run(&change("authorize"))?;
    let with = run_again(shell)?;
    findings.contains("rule back: it connects", REACHED, &with);
    Ok(())
}

fn run_again(shell: &Shell) -> Result<String> {
    shell.run("kubectl delete pod postgres-test")?;
    apply(shell, include_str!("../../../../lab/demo/postgres-test.yaml"))?;
    logs(shell, "postgres-test")
}

/// `kubectl apply` of a manifest; variables in it are expanded by the shell.
fn apply(shell: &Shell, manifest: &str) -> Result<()> {
    shell.run(&format!("kubectl apply -f - <<EOF\n{manifest}EOF")).map(drop)
}

/// The pod's log, once it has said something.
fn logs(shell: &Shell, pod: &str) -> Result<String> {
    let command = format!("kubectl logs {pod}");
    let waited = shell.until(&command, PATIENCE, |seen| seen.succeeded && !seen.text.is_empty());
    if waited.is_err() {
        shell.run(&format!("kubectl describe pod {pod}"))?;
        waited.with_context(|| format!("pod {pod} has not said anything"))?;
    }
    shell.run(&command)
}
