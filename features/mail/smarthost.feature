# A machine sends all its mail through another one, the smarthost: reports, alarms, the mail of a shop. If that path
# breaks, nobody notices until an alarm is missed. stepwatch hands the message to the machine's own mail server on port
# 25, as its programs do. It must arrive in a mailbox at the other end. The smarthost must not accept mail from anybody
# else.
#
# Needs in stepwatch.yml: account "leaf" with the address that the machine sends from, without a password, and with its
# mail server as smtp; account "alice" with the smarthost as smtp; account "bob" with address, password and imap. Run
# this where the machine accepts mail from, which is often the machine itself.
@every:5m
Feature: Mail by way of a smarthost

  Scenario: The machine's mail arrives
    When I send a message from "leaf" to "bob" via 25
    Then it is accepted within 5s
    And "bob" receives it over IMAP within 60s

  Scenario: The smarthost asks for a login
    When I try to send a message from "alice" to "bob" via 587 without logging in
    Then it is refused

  # If a client can send a password before TLS, some client will.
  Scenario: The smarthost takes passwords inside TLS alone
    Then STARTTLS is offered at "alice:587"
    And AUTH is not offered before TLS at "alice:587"
