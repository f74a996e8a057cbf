-- Reserved IPv6 addresses: written, or given by the rule of a chassis; and DHCPv6 identifiers.
ALTER TABLE chassis ADD COLUMN ip6_first TEXT;
ALTER TABLE blades ADD COLUMN ip6 TEXT;
ALTER TABLE blades ADD COLUMN duid TEXT;
