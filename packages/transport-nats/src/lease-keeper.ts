import { isLovageError, type OpenLeaseKeeper, silentLogger } from '@lovage/core/transport';
import { openLink } from '@lovage/nats';
import { IN_PROGRESS, isUnanswered } from './driver.ts';
import { readSettings } from './options.ts';

/** Says for a driver whose event loop stands still that its messages are in progress; a receipt is where to say it. */
export const openLeaseKeeper: OpenLeaseKeeper<unknown, string> = async (url, options) => {
  const settings = readSettings(url, options);
  const { clientName } = options;
  const link = await openLink(settings, { clientName, logger: silentLogger, signal: undefined });
  return {
    async extend(_, ackSubjects) {
      const questions = ackSubjects.map((subject) => ({ subject, payload: IN_PROGRESS }));
      const answers = await link.askAll(questions, settings.leaseMs / 2);
      return ackSubjects.map((subject, index) => {
        const answer = answers[index];
        return answer === undefined || isLovageError(answer) || isUnanswered(answer) ? null : subject;
      });
    },
    close: () => link.close(),
  };
};
