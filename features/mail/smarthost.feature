# A machine that sends all its mail through another one, the smarthost: reports, alarms, the mail of a shop. When that way
# breaks nobody notices until an alarm is missed. The message is given to the machine's own mail server on port 25, as its
# programs do, and must be in a mailbox at the other end; and the smarthost takes mail from nobody else.
#
# Needs in stepwatch.yml: account "leaf" with the address that the machine sends from, no password, and its mail server as
# smtp; account "alice" with the smarthost as smtp; account "bob" with address, password and imap. Run it where the
# machine takes mail from, which is often the machine itself.
@every:5m
Feature: Mail by way of a smarthost

  Scenario: The machine's mail arrives
    When I send a message from "leaf" to "bob" via 25
    Then it is accepted within 5s
    And "bob" receives it over IMAP within 60s

  Scenario: The smarthost asks for a login
    When I try to send a message from "alice" to "bob" via 587 without logging in
    Then it is refused

  # A password that can be sent before TLS will be sent before TLS.
  Scenario: The smarthost takes passwords inside TLS alone
    Then STARTTLS is offered at "alice:587"
    And AUTH is not offered before TLS at "alice:587"
