@every:5s @warn:1s @crit:5s
Feature: The website of demo.test
  A step that takes longer than @warn makes the run WARNING, although it passed. Longer than @crit makes it CRITICAL.

  Scenario: Visit the homepage and follow Contact
    When I go to "https://www.demo.test/"
    And I follow "Contact"
    Then I should see "B50F BE3B 409A"
    And the page should load within 2s

  Scenario: Plain HTTP leads to HTTPS
    When I go to "http://www.demo.test/secure"
    Then I should be on "https://www.demo.test/secure"

  Scenario: A member logs in
    When I go to "https://www.demo.test/login"
    And I fill in "User name" with "alice"
    And I fill in "Password" with the secret "alice"
    And I press "Log in"
    Then I should see "Hello alice"
