module.exports = { testMatch: ['<rootDir>/*.test.mjs'], transform: {} };
