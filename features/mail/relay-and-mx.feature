# Do all hosts that take mail for a domain take it, and does none carry mail for strangers? A host that carries it (an open
# relay) is found by spammers within hours, and ends on every blocklist. The addresses are in domains that cannot exist, so
# that nothing reaches anybody should it be one. A server that refuses such addresses before it thinks of relaying proves
# nothing, and the result is UNKNOWN: put two addresses of your own there, in domains that this server does not host.
#
# Needs in stepwatch.yml: account "alice" with address and smtp, the server that is tested. For another host write it in the
# place of alice: "mx.example.org:25". Account "bob" with address, password and imap, for the MX hosts.
@every:15m
Feature: Relaying and MX

  # The second MX is used when the first is down, and often nobody knows that it fails until then. This machine sends for
  # alice's domain here: where SPF or DMARC of that domain forbid it, take an account of a domain that allows it. The certificate may be
  # any, as for every sender; where the domain has MTA-STS write "directly to the MX of "bob" with verified TLS".
  Scenario: Every MX host takes mail
    When I send a message from "alice" directly to the MX of "bob"
    Then it is accepted within 10s
    And "bob" receives it over IMAP within 60s

  Scenario: Strangers cannot relay
    When I try to send from "stepwatch@elsewhere.invalid" to "stepwatch@example.invalid" via "alice:25"
    Then relaying is refused

  # Old tricks by which a server is made to take a foreign address for one of its own (RFC 5321 section 4.1.1.3).
  Scenario Outline: Strangers cannot relay by an address like <recipient>
    When I try to send from "stepwatch@elsewhere.invalid" to "<recipient>" via "alice:25"
    Then relaying is refused

    Examples:
      | recipient                                |
      | stepwatch%example.invalid@other.invalid  |
      | other.invalid!stepwatch@example.invalid  |
