//! The fields of flow log records, and formats made of them ("Flow log records", Amazon VPC User
//! Guide).

/// `version Variant "name"`: since which version of the records a field exists.
macro_rules! fields {
    ($($version:literal $variant:ident $name:literal,)*) => {
        /// A field of a flow log record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Field {
            $(#[doc = $name] $variant,)*
        }

        impl Field {
            const ALL: &'static [Field] = &[$(Field::$variant,)*];

            /// As in `${name}`.
            pub const fn name(self) -> &'static str {
                match self { $(Field::$variant => $name,)* }
            }

            /// The version of the records that brought the field.
            const fn version(self) -> u8 {
                match self { $(Field::$variant => $version,)* }
            }
        }
    };
}

fields! {
    2 Version "version",
    2 AccountId "account-id",
    2 InterfaceId "interface-id",
    2 Source "srcaddr",
    2 Destination "dstaddr",
    2 SourcePort "srcport",
    2 DestinationPort "dstport",
    2 Protocol "protocol",
    2 Packets "packets",
    2 Bytes "bytes",
    2 Start "start",
    2 End "end",
    2 Action "action",
    2 LogStatus "log-status",
    3 VpcId "vpc-id",
    3 SubnetId "subnet-id",
    3 InstanceId "instance-id",
    3 TcpFlags "tcp-flags",
    3 Type "type",
    3 PacketSource "pkt-srcaddr",
    3 PacketDestination "pkt-dstaddr",
    4 Region "region",
    4 ZoneId "az-id",
    4 SublocationType "sublocation-type",
    4 SublocationId "sublocation-id",
    5 SourceService "pkt-src-aws-service",
    5 DestinationService "pkt-dst-aws-service",
    5 FlowDirection "flow-direction",
    5 TrafficPath "traffic-path",
    8 RejectReason "reject-reason",
}

/// EC2's default format.
pub(crate) const DEFAULT: &str = "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} \
     ${srcport} ${dstport} ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}";

/// The fields of a line, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format(Vec<Field>);

impl Format {
    /// Reads `${field} ${field} …`.
    ///
    /// # Errors
    /// The part that is no field.
    pub fn parse(text: &str) -> Result<Format, String> {
        let field = |part: &str| {
            let name = part.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            let known = name.and_then(|name| Field::ALL.iter().find(|field| field.name() == name));
            known.copied().ok_or_else(|| part.to_owned())
        };
        let fields = text.split_whitespace().map(field).collect::<Result<Vec<_>, _>>()?;
        if fields.is_empty() { Err(String::new()) } else { Ok(Format(fields)) }
    }

    /// What the field `version` says: the latest version that a field came with.
    pub fn version(&self) -> u8 {
        self.0.iter().map(|field| field.version()).max().unwrap_or(2)
    }

    /// The first line of a file in S3.
    pub fn header(&self) -> String {
        self.line(|field| field.name().to_owned())
    }

    /// A line (no newline) with these values.
    pub fn line(&self, value: impl FnMut(Field) -> String) -> String {
        self.0.iter().copied().map(value).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let default = Format::parse(DEFAULT).expect("fields");
        assert_eq!((default.version(), default.0.len()), (2, 14));
        let custom = Format::parse("${vpc-id}  ${reject-reason}").expect("fields");
        assert_eq!((custom.version(), custom.header().as_str()), (8, "vpc-id reject-reason"));
        for (text, part) in [("", ""), ("vpc-id", "vpc-id"), ("${version} ${x}", "${x}")] {
            assert_eq!(Format::parse(text), Err(part.to_owned()));
        }
    }
}
