# Does the server take mail from those who may send, and from nobody else? Each way in that mail programs use is tried, and
# each mistake in the server's settings that lets strangers in. Nothing is left in a mailbox.
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

  # A password that goes out before TLS can be read by everybody on the way.
  Scenario: Passwords go out inside TLS only
    Then STARTTLS is offered at "alice:587"
    And AUTH is not offered before TLS at "alice:587"
    And AUTH is offered after TLS at "alice:587"
    And AUTH is offered after TLS at "alice:465"

  # 530 is what RFC 4954 wants here. Postfix says so at RCPT, others at MAIL; some say 550 or 554.
  Scenario: Who did not log in cannot submit
    When I try to send a message from "alice" to "bob" via 587 without logging in
    Then it is refused

  # A server that takes mail for mailboxes that there are not has to bounce it later, often to a forged sender.
  Scenario: An unknown mailbox is refused at once
    When I try to send a message from "alice" to an unknown mailbox in the domain of "bob" via 587
    Then it is refused at RCPT with 550

  # A wrong password makes some servers slow for everybody who comes from the same address. The step clears that when the
  # scenario is over. Keep this machine's address out of fail2ban and the like, or leave this scenario out.
  @every:1h
  Scenario: A wrong password is refused
    When I try to log in as "alice" with a wrong password via 587
    Then it is refused at AUTH with 535
