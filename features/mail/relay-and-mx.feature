# Does the server carry mail for strangers? One that does (an open relay) is found by spammers within hours, and ends on
# every blocklist. The addresses are in domains that cannot exist, so that nothing reaches anybody should it be one.
#
# Needs in stepwatch.yml: account "alice" with address and smtp, the server that is tested. For another host write it in the
# place of alice: "mx.example.org:25".
@every:15m
Feature: Relaying

  Scenario: Strangers cannot relay
    When I try to send from "stepwatch@elsewhere.invalid" to "stepwatch@example.invalid" via "alice:25"
    Then it is refused

  # Old tricks by which a server is made to take a foreign address for one of its own (RFC 5321 section 4.1.1.3).
  Scenario Outline: Strangers cannot relay by an address like <recipient>
    When I try to send from "stepwatch@elsewhere.invalid" to "<recipient>" via "alice:25"
    Then it is refused

    Examples:
      | recipient                                |
      | stepwatch%example.invalid@other.invalid  |
      | other.invalid!stepwatch@example.invalid  |
