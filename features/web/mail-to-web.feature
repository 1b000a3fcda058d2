# Does mail reach the application that reads it, and its pages? A request by mail is worth nothing while it stays in a
# mailbox that no job empties. stepwatch sends one message as a citizen would, and the page that lists requests must
# show it: its text ends in a number that no other message has.
#
# Needs in stepwatch.yml: account "alice", who sends, with address, password and smtp; and account "requests", with the
# address that the application reads. Replace the address of the page, and the time with what you promise.
#
# The application keeps the message. Prepare a request, a list or a category for tests that is not public.
@every:15m
Feature: Mail to the web

  Scenario: A request by mail appears on the website
    When I send a message from "alice" to "requests" via 587
    Then it is accepted within 5s
    And the message appears on "https://www.example.org/requests" within 5 minutes
