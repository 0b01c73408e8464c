#!/usr/bin/env node
import '@lovage/cli/bin';
