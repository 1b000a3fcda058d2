# Are the DNS records about our mail right? Receivers look here first, and an unreadable record is worse than none. Most
# break when something else changes, such as another service in the SPF record or a new key in the signer.
#
# Needs in stepwatch.yml: an account "alice" with an address in the domain, and the server that accepts her mail (smtp).
# Replace the DKIM selector "mail" with yours (s= in the DKIM-Signature of a mail from the domain). Delete the scenarios
# for MTA-STS, TLS reports and DANE (which needs a zone signed with DNSSEC) if you do not use them.
@every:15m
Feature: DNS records of the mail domain

  # Receivers stop after ten look-ups, including those of included records. Then mail has no SPF at all. spf_dns_lookups
  # reports how close you are.
  Scenario: SPF names our server and nobody else
    Then the SPF record of "alice" is valid
    And the SPF record of "alice" permits "alice"
    # An address that nobody has (RFC 5737).
    And the SPF record of "alice" does not permit "203.0.113.1"

  Scenario: The DKIM key can be used
    Then the DKIM key "mail" of "alice" is valid

  # With "none", forged mail in our name is delivered. Begin with "none", and end with "reject".
  Scenario: Forged mail is refused
    Then the DMARC record of "alice" is valid
    And the DMARC record of "alice" has the policy "reject"

  # Mail servers distrust a host whose address has another name, or none.
  Scenario: The mail server's address has its name
    Then the address of "alice" and its name match both ways
    And the greeting of "alice:25" names a host at its address

  # Senders that honour the policy send no mail to an MX host that it does not name.
  @every:1h
  Scenario: Senders are told to use TLS
    Then the MTA-STS policy of "alice" is valid
    And the MTA-STS policy of "alice" has the mode "enforce"
    And the TLS-RPT record of "alice" is valid

  # After a renewal with another key, senders that honour DANE send no mail until the TLSA record changes.
  Scenario: The certificate is the one that DNS names
    Then DANE protects every MX of "alice"
