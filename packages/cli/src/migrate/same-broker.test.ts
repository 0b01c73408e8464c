import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isSameBroker } from './same-broker.ts';

describe('one broker in two spellings', () => {
  test.each([
    ['redis://localhost', 'redis://127.0.0.1:6379/0'],
    ['redis://localhost', 'REDIS://user:secret@LOCALHOST'],
    ['valkey://localhost/0', 'redis://localhost/'],
    ['amqp://localhost', 'pyamqp://guest:guest@localhost:5672//'],
    ['amqp://', 'localhost'],
    ['amqp://one;amqp://two', 'amqp://two'],
    ['sqla+sqlite:///shop.db', `sqla+sqlite:///${resolve('shop.db')}`],
    ['sqla+sqlite:///shop.db', 'sqla+sqlite:///./there/../shop.db?timeout=3'],
    ['sqla+postgresql://h/shop', 'sqla+postgres://h:5432/shop'],
    ['mongodb://h/shop', 'mongodb://h:27017/shop'],
    ['sentinel://a:1;sentinel://b:2', 'sentinel://a:1;sentinel://b:2'],
  ])('%s and %s', (one, other) => {
    expect(isSameBroker(one, other)).toBe(true);
    expect(isSameBroker(other, one)).toBe(true);
  });

  test.each([
    ['redis://localhost', 'amqp://localhost'],
    ['redis://localhost/0', 'redis://localhost/1'],
    ['redis://localhost', 'redis://localhost:6380'],
    ['amqp://localhost//', 'amqp://localhost/shop'],
    ['amqp://one', 'amqp://two'],
    ['sqla+sqlite:///a.db', 'sqla+sqlite:///b.db'],
    ['filesystem://?data_folder_in=a', 'filesystem://?data_folder_in=b'],
  ])('but not %s and %s', (one, other) => expect(isSameBroker(one, other)).toBe(false));
});
