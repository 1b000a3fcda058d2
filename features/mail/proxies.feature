# All members' mail programs use one name, with many servers behind it. An IMAP and POP3 proxy (nginx, Perdition,
# Dovecot) finds the server of an account and passes the login on. Through the proxy, a member must see the mailbox as
# it is on the server: the same message, by IMAP and by POP3. A failure says whether the proxy, the server or both are
# at fault.
#
# Needs in stepwatch.yml: accounts "alice" and "bob" with address, password and smtp; imap and pop3 of bob are the
# server that holds the mailbox; and under hosts the address of "proxy".
@every:5m
Feature: The mailbox through the proxy

  Scenario: The same message through the proxy and directly
    When I send a message from "alice" to "bob" via 587
    Then it is accepted within 5s
    And "bob" receives it over IMAP within 60s
    And "bob" receives it over POP3 within 10s
    And "bob" receives it over IMAP at "proxy" within 10s
    And "bob" receives it over POP3 at "proxy" within 10s
    And it is the same message each time

  Scenario: Programs that begin in clear and ask for TLS
    When I send a message from "alice" to "bob" via 587
    Then "bob" receives it over IMAP at "proxy:143" within 60s
    And "bob" receives it over POP3 at "proxy:110" within 10s
    And it is the same message each time
