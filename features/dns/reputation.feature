# Would other servers accept mail from our server at all? The owner of a server on a blocklist learns of it from
# returned mail, days after somebody guessed a member's password.
#
# Needs in stepwatch.yml: an account "alice" with smtp, the host that sends for the domain (or write its name or address
# instead), and under resolver a resolver of your own, because the large lists do not answer public ones. If a list does
# not answer or no longer exists, the scenario is UNKNOWN and names the list: silence does not count as clean.
#
# Choose lists that your recipients use, and read the terms of each: most are free for small sites only.
@every:1h @timeout:30s
Feature: Reputation of the mail server

  Scenario: It is on no blocklist
    Then "alice" is on no blocklist of
      | zen.spamhaus.org       |
      | bl.spamcop.net         |
      | b.barracudacentral.org |

  # Many servers refuse mail from an address without a name, or with a name that leads elsewhere.
  Scenario: Its address has its name
    Then the address of "alice" and its name match both ways
