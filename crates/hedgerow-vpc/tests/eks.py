"""EKS through botocore, and the admin's calls for a cluster that runs here.

Usage: eks.py ENDPOINT
"""

import json
import sys
import urllib.error
import urllib.request

from official import client, refused

endpoint = sys.argv[1]
ec2, eks = client("ec2", "us-west-2"), client("eks", "us-west-2")


def admin(method, path, document=None, region="us-west-2"):
    url = f"{endpoint}/_hedgerow/eks/clusters/{path}"
    data = json.dumps(document).encode() if document is not None else None
    url += ("&" if "?" in url else "?") + f"region={region}"
    request = urllib.request.Request(url, data=data, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


# No cluster yet.
assert eks.list_clusters()["clusters"] == []
error = refused("ResourceNotFoundException", eks.describe_cluster, name="lab")
assert error["Error"]["Message"] == "No cluster found for name: lab."
assert error["ResponseMetadata"]["HTTPStatusCode"] == 404
assert admin("GET", "lab/access")[0] == 404

# The admin says that one runs here.
vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24")["Subnet"]["SubnetId"]
           for n in (1, 2)]
group = ec2.create_security_group(GroupName="eks", Description="e", VpcId=vpc)["GroupId"]
cluster = {"version": "1.33", "endpoint": "https://127.0.0.1:6443", "certificateAuthority": "QQ==",
           "subnetIds": subnets, "clusterSecurityGroupId": group,
           "serviceIpv4Cidr": "172.20.0.0/16", "tags": {"a.b/c": "d"}}
for wrong in ({**cluster, "subnetIds": ["subnet-1"]}, {**cluster, "subnetIds": []},
              {**cluster, "clusterSecurityGroupId": "sg-1"}, {**cluster, "castle": 1},
              {**cluster, "publicAccessCidrs": ["banana"]}):
    status, answer = admin("PUT", "lab", wrong)
    assert (status, answer["__type"]) == (400, "InvalidParameterException"), answer
assert admin("PUT", "-lab", cluster)[0] == 400
assert admin("PUT", "lab", cluster)[0] == 200

described = eks.describe_cluster(name="lab")["cluster"]
assert described["arn"] == "arn:aws:eks:us-west-2:123456789012:cluster/lab"
assert described["resourcesVpcConfig"] == {
    "subnetIds": subnets, "securityGroupIds": [], "clusterSecurityGroupId": group, "vpcId": vpc,
    "endpointPublicAccess": True, "endpointPrivateAccess": True,
    "publicAccessCidrs": ["0.0.0.0/0"]}
assert described["certificateAuthority"] == {"data": "QQ=="}
assert described["tags"] == {"a.b/c": "d"} and described["status"] == "ACTIVE"
assert described["kubernetesNetworkConfig"]["serviceIpv4Cidr"] == "172.20.0.0/16"
assert described["createdAt"].year >= 2024
eks.get_waiter("cluster_active").wait(name="lab")

# Regions are apart, and lists come in pages.
other = client("eks", "eu-west-1")
assert other.list_clusters()["clusters"] == []
for name in ("a", "b"):
    assert admin("PUT", name, cluster)[0] == 200
pages = list(eks.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 2}))
assert [page["clusters"] for page in pages] == [["a", "b"], ["lab"]]
refused("InvalidParameterException", eks.list_clusters, maxResults=101)
assert admin("DELETE", "a")[0] == 200
assert eks.list_clusters()["clusters"] == ["b", "lab"]


def admitted(client):
    return admin("GET", f"lab/access?client={client}")[1]["admitted"]


def change(**config):
    answer = eks.update_cluster_config(name="lab", resourcesVpcConfig=config)["update"]
    done = eks.describe_update(name="lab", updateId=answer["id"])["update"]
    assert (answer["type"], done["status"]) == ("EndpointAccessUpdate", "Successful")
    return done


# Who may come in follows the cluster's configuration.
assert admitted("127.0.0.1") and admitted("203.0.113.7")
done = change(publicAccessCidrs=["203.0.113.0/24", "198.51.100.1/32"])
assert done["params"] == [
    {"type": "PublicAccessCidrs", "value": '["203.0.113.0/24","198.51.100.1/32"]'}]
assert not admitted("127.0.0.1") and admitted("203.0.113.7") and admitted("198.51.100.1")
change(endpointPublicAccess=False)
assert not admitted("203.0.113.7")
change(endpointPublicAccess=True, publicAccessCidrs=["0.0.0.0/0"])
assert admitted("127.0.0.1")

refused("InvalidParameterException", eks.update_cluster_config, name="lab",
        resourcesVpcConfig={"endpointPublicAccess": True})
refused("InvalidParameterException", eks.update_cluster_config, name="lab",
        resourcesVpcConfig={"endpointPublicAccess": False, "endpointPrivateAccess": False})
refused("InvalidParameterException", eks.update_cluster_config, name="lab",
        resourcesVpcConfig={"publicAccessCidrs": ["10.0.0.0/33"]})
refused("InvalidParameterException", eks.update_cluster_config, name="lab",
        logging={"clusterLogging": []})
refused("ResourceNotFoundException", eks.update_cluster_config, name="nobody",
        resourcesVpcConfig={"endpointPublicAccess": False})
refused("ResourceNotFoundException", eks.describe_update, name="lab", updateId="x")

# The same token is the same update.
again = [eks.update_cluster_config(name="lab", clientRequestToken="t",
                                   resourcesVpcConfig={"endpointPrivateAccess": False})
         for _ in range(2)]
assert again[0]["update"]["id"] == again[1]["update"]["id"]

# What is not built says so, and EC2's clients do not see EKS's actions.
refused("InvalidAction", eks.list_nodegroups, clusterName="lab")
refused("InvalidAction", eks.delete_cluster, name="lab")
query = urllib.request.Request(endpoint, data=b"Action=ListClusters", method="POST")
try:
    urllib.request.urlopen(query)
    raise AssertionError("EC2 has no ListClusters")
except urllib.error.HTTPError as error:
    assert b"<Code>InvalidAction</Code>" in error.read()
