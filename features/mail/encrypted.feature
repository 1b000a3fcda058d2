# Is mail encrypted before it is stored? Some mailboxes keep no readable mail: a filter (Sieve with the plugin
# extprograms, or a gateway) encrypts each message for the owner's key when it arrives. If the filter fails, or the key has
# expired, mail is often stored as it came, and nobody notices until somebody reads it who should not.
#
# The filter must keep the message's header, by which stepwatch recognises it. stepwatch needs no key: it looks at the
# form, the packets of OpenPGP or the structure of S/MIME, and decrypts nothing. A message that also has a readable part
# is not encrypted. The step's note says in which form it is: PGP/MIME, inline PGP or S/MIME.
#
# Needs in stepwatch.yml: account "alice" (address, password, smtp) and account "sealed" (address, password, imap),
# whose mail is encrypted on arrival.
@every:15m
Feature: Mail is encrypted before it is stored

  Scenario: No readable mail arrives
    When I send a message from "alice" to "sealed" via 587
    Then "sealed" receives it over IMAP within 60s
    And it is encrypted with OpenPGP
