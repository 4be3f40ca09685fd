"""The contract of AI providers, by what the tests are about. `AIProviderContract` is all of them."""
