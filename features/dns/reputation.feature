# Would others take mail from our server at all? A server that is on a blocklist learns of it by mail that comes back, days after
# somebody guessed a member's password.
#
# Needs in stepwatch.yml: an account "alice" with smtp, the host that sends for the domain (or write its name or address
# instead), and under resolver a resolver of your own: the large lists do not answer public ones. A list that does not answer, or
# that is gone, fails the scenario as UNKNOWN and is named: nobody is taken for clean by silence.
#
# Choose lists that those use to whom you send, and look at the terms of each: most are free for small sites only.
@every:1h @timeout:30s
Feature: Reputation of the mail server

  Scenario: It is on no blocklist
    Then "alice" is on no blocklist of
      | zen.spamhaus.org       |
      | bl.spamcop.net         |
      | b.barracudacentral.org |

  # Many refuse mail from an address without a name, or with one that leads elsewhere.
  Scenario: Its address has its name
    Then the address of "alice" and its name match both ways
