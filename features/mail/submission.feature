# Does the server accept mail from people who may send, and from nobody else? The scenarios try each way in that mail
# programs use, and each mistake in the settings that lets strangers in. They leave nothing in a mailbox.
#
# Needs in stepwatch.yml: accounts "alice" and "bob", each with address, password, smtp and imap.
@every:15m
Feature: Mail submission

  Scenario Outline: A member hands over a message via <port>
    When I send a message from "alice" to "bob" via <port>
    Then it is accepted within 5s

    Examples:
      | port |
      | 587  |
      | 465  |

  # Everybody on the network path can read a password that is sent before TLS.
  Scenario: Passwords go out inside TLS only
    Then STARTTLS is offered at "alice:587"
    And AUTH is not offered before TLS at "alice:587"
    And AUTH is offered after TLS at "alice:587"
    And AUTH is offered after TLS at "alice:465"

  # RFC 4954 wants 530 here. Postfix sends it at RCPT, others at MAIL; some send 550 or 554.
  Scenario: Who did not log in cannot submit
    When I try to send a message from "alice" to "bob" via 587 without logging in
    Then it is refused

  # A server that accepts mail for mailboxes that do not exist must bounce it later, often to a forged sender.
  Scenario: An unknown mailbox is refused at once
    When I try to send a message from "alice" to an unknown mailbox in the domain of "bob" via 587
    Then it is refused at RCPT

  # After a wrong password, some servers are slow for everybody from the same address. The step clears that when the
  # scenario is over. Exempt the address of this machine in fail2ban and similar programs, or delete this scenario.
  @every:1h
  Scenario: A wrong password is refused
    When I try to log in as "alice" with a wrong password via 587
    Then it is refused at AUTH with 535
