# Do all MX hosts of a domain accept its mail, and does none of them relay for strangers? Spammers find a host that does
# (an open relay) within hours, and it ends up on every blocklist. The addresses below are in domains that cannot exist,
# so no message reaches anybody if the host relays. A server that refuses such addresses for another reason before it
# checks relaying proves nothing, and the result is UNKNOWN. Then use two addresses of your own, in domains that this
# server does not host.
#
# Needs in stepwatch.yml: account "alice" with address and smtp, the server to test. To test another host, write it
# instead of alice: "mx.example.org:25". Account "bob" with address, password and imap, for the MX hosts.
@every:15m
Feature: Relaying and MX

  # The second MX is used when the first is down. Often nobody knows until then that it does not work. This machine
  # sends for the domain of alice here. If SPF or DMARC of that domain forbid it, use an account in a domain that allows
  # it. Any certificate is accepted, as every sender does. If the domain has MTA-STS, write "directly to the MX of "bob"
  # with verified TLS".
  Scenario: Every MX host takes mail
    When I send a message from "alice" directly to the MX of "bob"
    Then it is accepted within 10s
    And "bob" receives it over IMAP within 60s

  Scenario: Strangers cannot relay
    When I try to send from "stepwatch@elsewhere.invalid" to "stepwatch@example.invalid" via "alice:25"
    Then relaying is refused

  # Old tricks that make a server take a foreign address for its own (RFC 5321 section 4.1.1.3).
  Scenario Outline: Strangers cannot relay by an address like <recipient>
    When I try to send from "stepwatch@elsewhere.invalid" to "<recipient>" via "alice:25"
    Then relaying is refused

    Examples:
      | recipient                                |
      | stepwatch%example.invalid@other.invalid  |
      | other.invalid!stepwatch@example.invalid  |
