# Do all addresses lead to the one address of the site? Here that is https://example.org/, without www. Each should need
# few redirects, and permanent ones (301 or 308), so that browsers and search engines learn the right address.
#
# Replace example.org with your domain. If your site prefers www, swap the two names.
@every:10m
Feature: Redirects

  Scenario: www leads to the bare domain
    When I go to "https://www.example.org/"
    Then I should be on "https://example.org/"
    And I should have been redirected from "https://www.example.org/" with 301

  Scenario: Plain HTTP leads to HTTPS
    When I go to "http://example.org/"
    Then I should be on "https://example.org/"
    And I should have been redirected from "http://example.org/" with 301

  # The redirects must keep the path.
  Scenario: An old link to a page still leads there
    When I go to "http://www.example.org/contact.html"
    Then I should be on "https://example.org/contact.html"
