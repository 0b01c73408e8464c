import type { NextConfig } from 'next';

const config: NextConfig = {
  // Lovage loads its transports by name when they are needed: that is left to Node instead of being bundled.
  serverExternalPackages: ['@lovage/core', '@lovage/transport-sql', '@lovage/backend-sql'],
};

export default config;
